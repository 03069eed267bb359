"""Listings of any shape: ordered, complete, streamed, in bounded memory."""

import bisect
import random
import tracemalloc
from dataclasses import dataclass

import pytest

from pipeline.sources.s3_listing import Page, Pager, S3Prefix, ascending_pages
from pipeline.storage.base import FileStatus
from pipeline.storage.s3_connection import S3Connection
from tests.s3 import TestStore


def keys_of(pager: Pager, prefix: str = "") -> list[str]:
    return [key for page in ascending_pages(pager, prefix) for key, _ in page]


def shapes() -> dict[str, list[str]]:
    """Keys below "p/", by their distribution over folders."""
    large = [f"p/a{n // 600}/{n:05}.jpg" for n in range(2500)]
    small = [f"p/b{n:04}/x.jpg" for n in range(400)]
    files = [f"p/c{n}.jpg" for n in range(300)]
    return {
        "large folders": large,
        "small folders": small,
        "no folders": files,
        "large, then small, then none": large + small + files,
        "small first": [key.replace("p/b", "p/A") for key in small] + large,
        "one after one page": [f"p/a/{n:04}" for n in range(99)] + ["p/a/zzz", "p/a0", "p/a1/x"],
        "exactly one page": [f"p/{n}" for n in range(100)],
        "nothing": [],
    }


@dataclass
class FakePager:
    """Pages of a list of keys, as S3 returns them."""

    keys: list[str]
    page_length: int = 100
    num_requests: int = 0

    def __call__(self, after: str, token: str | None, by_folder: bool) -> Page:
        self.num_requests += 1
        start = bisect.bisect_right(self.keys, token or after)
        if not by_folder:
            found = self.keys[start : start + self.page_length]
            more = start + len(found) < len(self.keys)
            return Page(
                [(key, FileStatus(1, "e")) for key in found], [], found[-1] if more else None
            )
        objects: list[tuple[str, FileStatus]] = []
        folders: list[str] = []
        last = ""
        while start < len(self.keys) and len(objects) + len(folders) < self.page_length:
            folder, slash, _ = self.keys[start].removeprefix("p/").partition("/")
            if slash:
                folders.append(f"p/{folder}/")
                last = f"p/{folder}/\U0010ffff"
            else:
                objects.append((self.keys[start], FileStatus(1, "e")))
                last = self.keys[start]
            start = bisect.bisect_right(self.keys, last)
        return Page(objects, folders, last if start < len(self.keys) else None)


@pytest.mark.parametrize("shape", shapes())
def test_every_key_is_listed_once_and_in_order_whatever_the_shape(shape: str) -> None:
    keys = sorted(shapes()[shape])
    pager = FakePager(keys)
    assert keys_of(pager, "p/") == keys
    assert pager.num_requests <= 2 * (len(keys) // pager.page_length + 1) + 8


@pytest.mark.parametrize("shape", shapes())
def test_a_real_server_pages_and_groups_in_the_same_way(s3: TestStore, shape: str) -> None:
    bucket = s3.new_bucket()
    keys = random.Random(1).sample(shapes()[shape], min(300, len(shapes()[shape])))
    s3.put(bucket, dict.fromkeys(keys, b""))
    source = S3Prefix(S3Connection(), f"s3://{bucket}/p/", page_length=30)
    assert [f"p/{image.key}" for image in source.list_images()] == sorted(keys)


@dataclass
class EndlessPager:
    """A million keys in folders of fifty thousand, generated on request."""

    num_keys: int = 1_000_000
    num_requests: int = 0

    def __call__(self, after: str, token: str | None, by_folder: bool) -> Page:
        self.num_requests += 1
        if by_folder:
            folders = [f"p/{n:04}/" for n in range(self.num_keys // 50_000)]
            return Page([], [name for name in folders if name > after], None)
        start = int((token or after)[7:15]) + 1 if (token or after)[7:15].isdigit() else 0
        if not token and after.endswith("\U0010ffff"):
            start = (int(after[2:6]) + 1) * 50_000
        found = range(start, min(start + 1000, self.num_keys))
        objects = [(f"p/{n // 50_000:04}/{n:08}", FileStatus(100, "e")) for n in found]
        return Page(objects, [], objects[-1][0] if found.stop < self.num_keys else None)


def test_a_million_objects_start_at_once_and_a_few_thousand_keys_are_held() -> None:
    pager = EndlessPager()
    pages = ascending_pages(pager, "p/")
    first = next(pages)
    assert (len(first), pager.num_requests) == (1000, 1)
    num_keys, before = len(first), first[-1][0]
    for page in pages:
        assert page[0][0] > before
        before = page[-1][0]
        num_keys += len(page)
        # One page is in use; of four ranges, one page each is on its way or waits.
        assert pager.num_requests - num_keys // 1000 <= 4 + 2
    assert num_keys == 1_000_000


def test_the_memory_of_a_listing_is_that_of_a_few_pages() -> None:
    tracemalloc.start()
    try:
        num_keys = sum(len(page) for page in ascending_pages(EndlessPager(150_000), "p/"))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert num_keys == 150_000
    assert peak_bytes < 6000 * 400
