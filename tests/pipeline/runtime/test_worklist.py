"""What a run has to do, and when too many images have failed."""

import threading
from pathlib import Path

import pytest

from pipeline.errors import TooManyDeadLettersError
from pipeline.output.counts import Counts
from pipeline.output.ledger import Ledger
from pipeline.runtime.worklist import Worklist, allowed_dead_letters
from pipeline.sources.listing import ShardListing
from tests.pipeline.output.tables import tables_in
from tests.pipeline.sources.test_listing import Made


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tables_in(tmp_path, 1), (1.0, 3.0), "run")


def failed(num_dead_letters: int, num_other_files: int = 0) -> Counts:
    counts = Counts.zero(2)
    counts.num_dead_letters, counts.num_other_files = num_dead_letters, num_other_files
    return counts


def check(value: bool) -> None:
    assert value


def test_the_number_of_images_is_known_at_the_end_of_the_listing(ledger: Ledger) -> None:
    with ShardListing(Made(10)) as listing:
        shards = (None if shard is None else ledger.open(shard) for shard in listing)
        worklist = Worklist(shards, ledger, listing)
        assert [(item[0], len(item[1])) for item in worklist if item] == [(0, 10)]
        assert worklist.num_images == 10
        assert worklist.num_to_do == 10


def test_a_share_of_failures_above_the_limit_stops_the_run(ledger: Ledger) -> None:
    go_on = threading.Event()
    with ShardListing(Made(10, before=lambda number: check(go_on.wait(30)))) as listing:
        shards = (None if shard is None else ledger.open(shard) for shard in listing)
        worklist = Worklist(shards, ledger, listing, max_errors=0.2)
        worklist.check_dead_letters(failed(10))  # of a number of images that is not known yet
        go_on.set()
        list(worklist)
        worklist.check_dead_letters(failed(2))
        with pytest.raises(TooManyDeadLettersError, match="3 images failed, at most 2 may"):
            worklist.check_dead_letters(failed(3))


def test_a_share_is_one_of_the_pictures(ledger: Ledger) -> None:
    """Of 10 files 5 are no pictures: a fifth of the others is 1."""
    with ShardListing(Made(10)) as listing:
        shards = (None if shard is None else ledger.open(shard) for shard in listing)
        worklist = Worklist(shards, ledger, listing, max_errors=0.2)
        list(worklist)
        worklist.check_dead_letters(failed(2))
        worklist.check_dead_letters(failed(1, num_other_files=5))
        with pytest.raises(TooManyDeadLettersError, match="2 images failed, at most 1 may"):
            worklist.check_dead_letters(failed(2, num_other_files=5))


@pytest.mark.parametrize("limit", [None, 0, 7])
def test_a_number_is_one_at_any_time(limit: int | None) -> None:
    assert allowed_dead_letters(limit, None, 0, is_uncountable=True) == limit
    assert allowed_dead_letters(limit, 50, 10, is_uncountable=False) == limit


def test_a_share_of_a_countable_archive_waits_for_the_count() -> None:
    assert allowed_dead_letters(0.01, None, 5000, is_uncountable=False) is None
    assert allowed_dead_letters(0.01, 10_000, 5000, is_uncountable=False) == 100


def test_a_share_of_tars_is_one_of_what_is_listed_from_the_thousandth_image_on() -> None:
    assert allowed_dead_letters(0.01, None, 999, is_uncountable=True) is None
    assert allowed_dead_letters(0.01, None, 1000, is_uncountable=True) == 10
    assert allowed_dead_letters(0.01, None, 2599, is_uncountable=True) == 25


def test_at_the_end_of_the_listing_few_images_are_enough() -> None:
    assert allowed_dead_letters(0.5, 4, 4, is_uncountable=True) == 2
    assert allowed_dead_letters(0.29, 100, 100, is_uncountable=True) == 29
