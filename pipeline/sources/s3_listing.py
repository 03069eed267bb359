"""Lists an S3 prefix in ascending order of keys, several ranges of keys at once.

The first listing page comes from one plain request. If it shows that the keys lie in large folders,
the rest is cut into ranges of keys at the ends of folders, and some ranges are listed ahead.
Otherwise one stream of pages of a thousand keys is the fastest way.
"""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.errors import ImageError, StorageDeniedError, StorageFailedError
from pipeline.records import ImageRecord
from pipeline.sources.base import Source
from pipeline.sources.left_out import LeftOut
from pipeline.sources.patterns import Glob
from pipeline.sources.read_ahead import concatenate
from pipeline.storage import FileStatus
from pipeline.storage.errors import ObjectDeniedError
from pipeline.storage.s3_connection import S3Connection, split_uri

__all__ = ["Page", "Pager", "S3Prefix", "ascending_pages"]

logger = logging.getLogger(__name__)

_RANGES_AHEAD = 3
_KEYS_PER_RANGE = 4000
_RUN = re.compile(r".+/\.runs/\d{8}\.json", re.DOTALL)
_LAST_CHARACTER = "\U0010ffff"

_Objects = list[tuple[str, FileStatus]]


@dataclass(frozen=True, slots=True)
class Page:
    """One response of a store.

    Attributes:
        objects: keys with size and etag, ascending.
        folders: common prefixes that end with a slash, ascending; only if asked for.
        token: continues the listing; None at its end.
    """

    objects: _Objects
    folders: list[str]
    token: str | None


Pager = Callable[[str, str | None, bool], Page]
"""Lists keys below one prefix: behind a key ("" for all), or from a token on; or else the folders
right below the prefix instead of the keys in them. Thread-safe."""


def ascending_pages(pager: Pager, prefix: str) -> Iterator[_Objects]:
    """All objects in ascending order of keys, page by page.

    Args:
        pager: of one prefix.
        prefix: all of its keys start with this.
    """
    first = pager("", None, False)
    yield first.objects
    if first.token is None:
        return
    folders = {_folder(key, prefix) for key, _ in first.objects}
    keys_per_folder = len(first.objects) / len(folders) if folders else 0.0
    if not first.objects or None in folders or keys_per_folder * 10 < len(first.objects):
        yield from _range(pager, "", first.token, None)
        return
    last = first.objects[-1][0]
    ranges = _ranges(pager, last, first.token, keys_per_folder)
    yield from concatenate(ranges, _RANGES_AHEAD, page_length=1)


def _folder(key: str, prefix: str) -> str | None:
    """The first folder below the prefix; None for a key directly below it."""
    name, slash, _ = key[len(prefix) :].partition("/")
    return name if slash else None


def _range(pager: Pager, after: str, token: str | None, until: str | None) -> Iterator[_Objects]:
    """Pages of the keys behind `after`, up to `until` inclusive."""
    while True:
        page = pager(after, token, False)
        if until is not None and page.objects and page.objects[-1][0] > until:
            if inside := [item for item in page.objects if item[0] <= until]:
                yield inside
            return
        if page.objects:
            yield page.objects
        token = page.token
        if token is None:
            return


def _ranges(
    pager: Pager, after: str, token: str, keys_per_folder: float
) -> Iterator[Iterator[_Objects]]:
    """Consecutive ranges that cover all keys behind `after`; each ends behind a folder.

    Folders only decide where to cut. So a store that reports them wrongly, or folders that appear
    meanwhile, neither lose a key nor list one twice.
    """
    folders_per_range = max(1, round(_KEYS_PER_RANGE / keys_per_folder))
    folder_token: str | None = None
    num_folders = 0
    start, start_token = after, token
    while True:
        page = pager(after, folder_token, True)
        for folder in page.folders:
            num_folders += 1
            end = folder + _LAST_CHARACTER
            if num_folders % folders_per_range == 0 and end > start:
                yield _range(pager, start, start_token or None, end)
                start, start_token = end, ""
        folder_token = page.token
        # Files beside the folders are listed twice by this, so it stops where they prevail.
        if folder_token is None or len(page.objects) > len(page.folders):
            break
    yield _range(pager, start, start_token or None, None)


class S3Prefix(Source):
    """The objects below one folder of a bucket.

    Args:
        connection: to the store.
        folder: s3://bucket/ or s3://bucket/any/folder/.
        globs: objects must match one of them; none for all objects.
        exclude: URI of a folder to skip.
        page_length: keys per page; stores return at most a thousand.
        all_files: leave nothing out.
    """

    def __init__(
        self,
        connection: S3Connection,
        folder: str,
        globs: tuple[Glob, ...] = (),
        exclude: str | None = None,
        page_length: int = 1000,
        *,
        all_files: bool = False,
    ) -> None:
        self._connection = connection
        self._bucket, self._folder = split_uri(folder)
        self._globs = globs
        self._exclude = None if exclude is None else exclude.rstrip("/") + "/"
        self._page_length = page_length
        self._left_out = LeftOut(all_files)

    def list_images(self) -> Iterator[ImageRecord]:
        """See `Source.list_images`; holds a few listing pages."""
        prefix = self._folder + (self._globs[0].prefix if len(self._globs) == 1 else "")
        output: str | None = None
        for page in ascending_pages(partial(self._page, prefix), prefix):
            for key, status in page:
                uri = f"s3://{self._bucket}/{key}"
                name = key[len(self._folder) :]
                is_placeholder = key.endswith("/") and not status.size_bytes
                is_excluded = self._exclude is not None and uri.startswith(self._exclude)
                if _RUN.fullmatch(name):  # precedes all else in an output of dvt
                    output = name.rpartition(".runs/")[0]
                    logger.info("skipped %s: an output of dvt", uri.rpartition(".runs/")[0])
                is_excluded |= output is not None and name.startswith(output)
                if is_placeholder or is_excluded or self._left_out.hides(name):
                    continue
                if not self._globs or any(glob.matches(name) for glob in self._globs):
                    yield ImageRecord(name, uri, status.size_bytes, status.etag)
        self._left_out.log(f"s3://{self._bucket}/{self._folder}")

    def _page(self, prefix: str, after: str, token: str | None, by_folder: bool) -> Page:
        """See `Pager`."""
        where: Any = {"Bucket": self._bucket, "Prefix": prefix, "MaxKeys": self._page_length}
        if token:
            where["ContinuationToken"] = token
        elif after:
            where["StartAfter"] = after
        if by_folder:
            where["Delimiter"] = "/"
        uri = f"s3://{self._bucket}/{prefix}"
        try:
            response: Any = self._connection.call(
                uri, lambda client: client.list_objects_v2(**where)
            )
        except ObjectDeniedError as error:
            raise StorageDeniedError(f"storage: cannot list {uri}: {error.detail}") from error
        except ImageError as error:
            raise StorageFailedError(f"storage: cannot list {uri}: {error.detail}") from error
        return Page(
            [
                (entry["Key"], FileStatus(entry["Size"], entry["ETag"].strip('"')))
                for entry in response.get("Contents", ())
            ],
            [entry["Prefix"] for entry in response.get("CommonPrefixes", ())],
            response.get("NextContinuationToken") if response["IsTruncated"] else None,
        )
