"""How much a run has to do is known before the listing has come to its end."""

from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.output.counts import Counts, RunCounts

SHARDS, LENGTH = 200, 1000
IMAGES = SHARDS * LENGTH


def guesses(num_results: int, shards: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is thought to be to do behind each shard, and what is.

    Args:
        num_results: committed before.
        shards: results of each that count, and that are done again.
    """
    totals = RunCounts(Counts.zero(2), Counts.zero(2), num_results=num_results)
    truth = sum(LENGTH - counted for counted, _ in shards)
    for counted, redone in shards:
        totals.add_shard(LENGTH, counted, redone)
        yield totals.num_to_do(LENGTH * len(shards)), truth


def test_an_archive_of_which_a_little_is_new_everywhere_is_little_work() -> None:
    shards = [(950, 0)] * SHARDS
    assert all(guess == truth for guess, truth in guesses(950 * SHARDS, shards))


def test_what_is_new_comes_first_and_what_earlier_runs_did_behind_it() -> None:
    shards = [(0, 0)] * 50 + [(1000, 0)] * 150
    assert all(guess == truth for guess, truth in guesses(150_000, shards))
    # 50 results are of images that are gone; they take no other's place.
    told = [guess for guess, _ in guesses(150_050, shards)]
    assert max(abs(np.array(told) - 50_000)) <= 1000


def test_a_run_that_was_killed_has_the_rest_to_do() -> None:
    shards = [(1000, 0)] * 90 + [(400, 0)] + [(0, 0)] * 109
    assert all(guess == truth for guess, truth in guesses(90_400, shards))


@pytest.mark.parametrize("share_redone", [0.1, 0.5, 1.0])
def test_a_retag_run_has_as_much_to_do_everywhere_as_where_it_has_been(share_redone: float) -> None:
    redone = round(LENGTH * share_redone)
    shards = [(LENGTH - redone, redone)] * SHARDS
    assert all(guess == truth for guess, truth in guesses(IMAGES, shards))


def test_a_retag_run_that_was_killed_soon_sees_what_is_left() -> None:
    shards = [(1000, 0)] * 100 + [(300, 700)] * 100
    told = [guess for guess, _ in guesses(IMAGES, shards)]
    assert told[150] == pytest.approx(70_000, rel=0.15)
    assert told[-1] == 70_000


def test_results_of_an_archive_that_was_replaced_are_soon_noticed() -> None:
    told = [guess for guess, _ in guesses(IMAGES, [(0, 0)] * SHARDS)]
    assert told[40] == IMAGES
    told = [guess for guess, _ in guesses(30 * IMAGES, [(0, 0)] * SHARDS)]
    assert told[0] == IMAGES


def test_an_archive_without_results_is_all_to_do() -> None:
    totals = RunCounts(Counts.zero(2), Counts.zero(2))
    assert totals.num_to_do(5000) == 5000
    totals.num_images = 7000  # more than were counted
    assert totals.num_to_do(5000) == 7000
