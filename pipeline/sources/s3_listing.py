"""Keys of a bucket in ascending order, page by page, several parts of it at once.

The first page comes from one plain request. If it shows that the keys lie in large folders, the
rest is cut into ranges at the borders of folders, and a few ranges are listed ahead. Otherwise one
stream of pages of a thousand keys is as good as can be.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from pipeline.errors import ImageError, StorageDeniedError, StorageFailedError
from pipeline.records import ImageRecord
from pipeline.sources.base import NOTHING_KEPT
from pipeline.sources.names import is_hidden
from pipeline.sources.patterns import Glob
from pipeline.sources.prefetch import pages_in_order
from pipeline.storage.base import FileStatus
from pipeline.storage.errors import ObjectDeniedError
from pipeline.storage.s3_connection import S3Connection, split_uri

__all__ = ["BucketPager", "Page", "Pager", "S3Prefix", "ascending_pages"]

_NUM_AHEAD = 3
_KEYS_A_RANGE = 4000
_BEHIND_ALL = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a store.

    Attributes:
        objects: key, size and etag, ascending.
        folders: with a delimiter, what the keys that have it begin with, ascending.
        token: where to go on; None at the end.
    """

    objects: list[tuple[str, FileStatus]]
    folders: list[str]
    token: str | None


class Pager(Protocol):
    """Lists the keys below one prefix; used by several threads at once."""

    def page(self, after: str, token: str | None, by_folder: bool) -> Page:
        """One page.

        Args:
            after: only keys behind this one; "" for all.
            token: of the page before, if there was one.
            by_folder: folders right below the prefix instead of the keys in them.
        """
        ...


@dataclass(frozen=True, slots=True)
class BucketPager:
    """See `Pager`.

    Attributes:
        connection: to the store.
        bucket: its name.
        prefix: of the keys.
        page_length: most keys of an answer; no store gives more than a thousand.
    """

    connection: S3Connection
    bucket: str
    prefix: str
    page_length: int = 1000

    def page(self, after: str, token: str | None, by_folder: bool) -> Page:
        """See `Pager.page`."""
        where: dict[str, Any] = {"ContinuationToken": token} if token else {}
        if after and not token:
            where["StartAfter"] = after
        if by_folder:
            where["Delimiter"] = "/"
        uri = f"s3://{self.bucket}/{self.prefix}"
        try:
            answer: Any = self.connection.call(
                uri,
                lambda client, payer: client.list_objects_v2(
                    Bucket=self.bucket,
                    Prefix=self.prefix,
                    MaxKeys=self.page_length,
                    **where,
                    **payer,
                ),
            )
        except ObjectDeniedError as error:
            raise StorageDeniedError(f"storage: cannot list {uri}: {error.detail}") from error
        except ImageError as error:
            raise StorageFailedError(f"storage: cannot list {uri}: {error.detail}") from error
        return Page(
            [
                (entry["Key"], FileStatus(entry["Size"], entry["ETag"].strip('"')))
                for entry in answer.get("Contents", ())
            ],
            [entry["Prefix"] for entry in answer.get("CommonPrefixes", ())],
            answer.get("NextContinuationToken") if answer["IsTruncated"] else None,
        )


def ascending_pages(pager: Pager, prefix: str) -> Iterator[list[tuple[str, FileStatus]]]:
    """All objects, in order of their keys.

    Args:
        pager: of one prefix.
        prefix: that its keys begin with.
    """
    first = pager.page("", None, by_folder=False)
    yield first.objects
    if first.token is None:
        return
    folders = {_folder(key, prefix) for key, _ in first.objects}
    keys_a_folder = len(first.objects) / len(folders) if folders else 0.0
    if not first.objects or None in folders or keys_a_folder * 10 < len(first.objects):
        yield from _range(pager, "", first.token, None)
        return
    last = first.objects[-1][0]
    yield from pages_in_order(_ranges(pager, last, first.token, keys_a_folder), _NUM_AHEAD)


def _folder(key: str, prefix: str) -> str | None:
    """The folder right below the prefix; None for a key that lies in none."""
    name, slash, _ = key[len(prefix) :].partition("/")
    return name if slash else None


def _range(
    pager: Pager, after: str, token: str | None, until: str | None
) -> Iterator[list[tuple[str, FileStatus]]]:
    """Pages of the keys behind `after`, up to and with `until`."""
    while True:
        page = pager.page(after, token, by_folder=False)
        if until is not None and page.objects and page.objects[-1][0] > until:
            if kept := [item for item in page.objects if item[0] <= until]:
                yield kept
            return
        if page.objects:
            yield page.objects
        token = page.token
        if token is None:
            return


_Range = Callable[[], Iterator[list[tuple[str, FileStatus]]]]


def _ranges(pager: Pager, after: str, token: str, keys_a_folder: float) -> Iterator[_Range]:
    """Ranges of keys that together are all behind `after`; each ends behind a folder.

    Where a folder begins and ends only decides where to cut, so a store that tells it wrongly, or
    folders that come while this runs, neither lose a key nor bring one twice.
    """
    folders_a_range = max(1, round(_KEYS_A_RANGE / keys_a_folder))
    folder_token: str | None = None
    num_folders = 0
    start, start_token = after, token
    while True:
        page = pager.page(after, folder_token, by_folder=True)
        for folder in page.folders:
            num_folders += 1
            end = folder + _BEHIND_ALL
            if num_folders % folders_a_range == 0 and end > start:
                yield partial(_range, pager, start, start_token or None, end)
                start, start_token = end, ""
        folder_token = page.token
        # Files beside the folders are listed twice by this, so it ends where they prevail.
        if folder_token is None or len(page.objects) > len(page.folders):
            break
    yield partial(_range, pager, start, start_token or None, None)


class S3Prefix:
    """The objects below one folder of a bucket.

    Args:
        connection: to the store.
        folder: s3://bucket/ or s3://bucket/any/folder/.
        globs: which objects below it, those that fit any; none for all.
        exclude: URI of a folder to leave out.
    """

    kept = NOTHING_KEPT

    def __init__(
        self,
        connection: S3Connection,
        folder: str,
        globs: tuple[Glob, ...] = (),
        exclude: str | None = None,
    ) -> None:
        self._connection = connection
        self._bucket, self._folder = split_uri(folder)
        self._globs = globs
        self._exclude = None if exclude is None else exclude.rstrip("/") + "/"

    def list_images(self) -> Iterator[ImageRecord]:
        """All images with ascending keys; a few pages of a thousand are held."""
        prefix = self._folder + (self._globs[0].prefix if len(self._globs) == 1 else "")
        pager = BucketPager(self._connection, self._bucket, prefix)
        for page in ascending_pages(pager, prefix):
            for key, status in page:
                uri = f"s3://{self._bucket}/{key}"
                name = key[len(self._folder) :]
                is_placeholder = key.endswith("/") and not status.size_bytes
                is_excluded = self._exclude is not None and uri.startswith(self._exclude)
                if is_placeholder or is_excluded or is_hidden(name):
                    continue
                if not self._globs or any(glob.matches(name) for glob in self._globs):
                    yield ImageRecord(name, uri, status.size_bytes, status.etag)

    def count_images(self) -> int:
        """Lists everything."""
        return sum(1 for _ in self.list_images())
