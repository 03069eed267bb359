"""An archive is listed once, ahead of the work, in bounded memory and disk space."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pipeline.errors import StorageFailedError
from pipeline.records import ImageRecord
from pipeline.sources.base import Source
from pipeline.sources.listing import ShardListing
from pipeline.sources.sharding import cut_shards


class Made(Source):
    """Images in shards of five, from a container each."""

    def __init__(
        self,
        num_images: int,
        is_cheap_to_list: bool = True,
        before: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.num_images = num_images
        self.is_cheap_to_list = is_cheap_to_list
        self.num_listed = 0
        self._before = before

    def list_images(self) -> Iterator[ImageRecord]:
        for number in range(self.num_images):
            self._before(number)
            self.num_listed += 1
            yield ImageRecord(f"{number:05d}", f"file:///{number}#{number // 5}", number)


def wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


@pytest.mark.parametrize("is_cheap_to_list", [True, False])
@pytest.mark.parametrize("in_memory", [1, 3, 1000])
def test_all_shards_come_in_their_order(is_cheap_to_list: bool, in_memory: int) -> None:
    source = Made(5000, is_cheap_to_list)
    with ShardListing(source, in_memory) as listing:
        found = [shard for shard in listing if shard is not None]
        assert listing.num_images == 5000
    assert found == list(cut_shards(Made(5000).list_images()))


def test_the_number_is_known_before_a_shard_is_taken() -> None:
    source = Made(20_000)
    with ShardListing(source, in_memory=1) as listing:
        wait_until(lambda: listing.num_images == 20_000)
        assert sum(len(shard.images) for shard in listing if shard) == 20_000
    assert source.num_listed == 20_000, "listed once"


@pytest.mark.parametrize("source", [Made(50_000, is_cheap_to_list=False), Made(50_000)])
def test_tars_and_full_disks_are_listed_no_further_than_the_work_needs(source: Made) -> None:
    with ShardListing(source, in_memory=2, spool_bytes=0) as listing:
        shard = next(shard for shard in listing if shard is not None)
        time.sleep(0.3)
        assert source.num_listed < 50_000
        assert listing.num_images is None
        assert not listing.is_ahead
        rest = sum(len(each.images) for each in listing if each is not None)
        assert len(shard.images) + rest == listing.num_images == 50_000


def test_a_slow_listing_does_not_block_the_caller() -> None:
    go_on = threading.Event()

    def before(number: int) -> None:
        if number == 9000:
            assert go_on.wait(30)

    with ShardListing(Made(10_000, before=before)) as listing:
        taken = 0
        while (shard := next(listing)) is not None or taken == 0:
            taken += 0 if shard is None else len(shard.images)
        assert taken < 10_000
        go_on.set()
        assert taken + sum(len(shard.images) for shard in listing if shard) == 10_000


def test_an_error_of_the_listing_is_raised_behind_the_shards_before_it() -> None:
    def before(number: int) -> None:
        if number == 9000:
            raise StorageFailedError("storage: it is down")

    with ShardListing(Made(10_000, before=before), in_memory=1) as listing:
        first = next(shard for shard in listing if shard is not None)
        assert first.first_key == "00000"
        with pytest.raises(StorageFailedError, match="it is down"):
            list(listing)
        assert listing.num_images is None


def test_a_listing_that_is_left_early_ends() -> None:
    source = Made(50_000, is_cheap_to_list=False)
    with ShardListing(source) as listing:
        next(shard for shard in listing if shard is not None)
    num_listed = source.num_listed
    time.sleep(0.2)
    assert source.num_listed <= num_listed + 4096
