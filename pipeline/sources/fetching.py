"""Bytes of listed images: read ahead by threads, in order, each failure its image's own.

Images that are neighbours in a tar on S3 are fetched by one request. What can only be read forward
(compressed tars, Parquet) is read by one thread, so that its cursors move on.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.errors import ImageError, Reason, StorageDeniedError, StorageFailedError, UsageError
from pipeline.records import ImageRecord, ParquetRow, TarMember, Unreadable
from pipeline.sources.cursors import Cursors
from pipeline.sources.fetch_tasks import FetchStrategy, FetchTask, units_of
from pipeline.storage import FileStatus, S3Options, Stores
from pipeline.storage.base import too_large
from pipeline.storage.errors import ObjectDeniedError
from pipeline.storage.s3_connection import NUM_CONNECTIONS

__all__ = ["ArchiveFetcher"]

# What is read ahead. A disk needs little, and memory that was used a moment ago is quicker.
_WINDOW_BYTES, _LOCAL_WINDOW_BYTES = 64 * 2**20, 8 * 2**20
_LOCAL_THREADS = 4
# After so many denials on end, others are tried, to learn whether rights lack in places or at all:
# with nothing read yet, and later.
_DENIED_AT_FIRST = 8
_DENIED_LATER = 1000


class ArchiveFetcher:
    """See `Fetcher`.

    Args:
        s3: how to talk to S3.
    """

    def __init__(self, s3: S3Options) -> None:
        self._s3 = s3
        self._stores = Stores(s3)
        self._cursors = Cursors()
        self._pool_of_way: dict[FetchStrategy, ThreadPoolExecutor] = {}
        self._has_read = False
        self._num_denied = 0

    def __reduce__(self) -> tuple[type["ArchiveFetcher"], tuple[S3Options]]:
        return ArchiveFetcher, (self._s3,)

    def fetch_all(
        self, images: Sequence[ImageRecord], max_bytes: int
    ) -> Iterator[bytes | ImageError]:
        """See `Fetcher.fetch_all`; some 64 MiB and one image are held besides the caller's."""
        # Denials wait until something is read, since they might yet be the storage's, not theirs.
        held: list[ImageError] = []
        for image, result in zip(images, self._results(images, max_bytes), strict=True):
            if isinstance(result, ObjectDeniedError):
                self._count_denied(result, image)
                if not self._has_read:
                    held.append(result)
                    continue
            elif not isinstance(result, ImageError):
                self._has_read = True
                self._num_denied = 0
            if held and not self._has_read and isinstance(result, ImageError):
                held.append(result)
                continue
            yield from held
            held.clear()
            yield result
        yield from held

    def _count_denied(self, denied: ObjectDeniedError, image: ImageRecord) -> None:
        self._num_denied += 1
        limit = _DENIED_LATER if self._has_read else _DENIED_AT_FIRST
        if self._num_denied < limit:
            return
        folder = _folder_of(image)
        if not self._stores.s3.can_read_some_of(folder):
            raise StorageDeniedError(
                f"storage: {denied.detail} to {self._num_denied} images on end, and to all others "
                f"that were tried in {folder}; may these credentials read the archive?"
            )
        self._has_read = True
        self._num_denied = 0

    def _results(
        self, images: Sequence[ImageRecord], max_bytes: int
    ) -> Iterator[bytes | ImageError]:
        units = deque(units_of(images))
        running: deque[tuple[int, Future[list[bytes | ImageError]]]] = deque()
        num_bytes = 0
        try:
            while units or running:
                while units and len(running) < 2 * NUM_CONNECTIONS:
                    size = units[0].num_bytes
                    is_local = units[0].way is FetchStrategy.LOCAL
                    window = _LOCAL_WINDOW_BYTES if is_local else _WINDOW_BYTES
                    if running and num_bytes + size > window:
                        break
                    unit = units.popleft()
                    pool = self._pool(unit.way)
                    running.append((size, pool.submit(self._fetch, unit, max_bytes)))
                    num_bytes += size
                size, results = running.popleft()
                yield from results.result()
                num_bytes -= size
        finally:
            for _, results in running:
                results.cancel()

    def _pool(self, way: FetchStrategy) -> ThreadPoolExecutor:
        """Threads are started on first use, in the process that fetches."""
        if way not in self._pool_of_way:
            num_threads = {FetchStrategy.FORWARD: 1, FetchStrategy.LOCAL: _LOCAL_THREADS}.get(
                way, NUM_CONNECTIONS
            )
            self._pool_of_way[way] = ThreadPoolExecutor(num_threads, f"fetch-{way.name.lower()}")
        return self._pool_of_way[way]

    def _fetch(self, unit: FetchTask, max_bytes: int) -> list[bytes | ImageError]:
        if unit.way is FetchStrategy.SPAN:
            return self._fetch_span(unit.images, max_bytes)
        return [self._fetch_one(image, max_bytes) for image in unit.images]

    def _fetch_one(self, image: ImageRecord, max_bytes: int) -> bytes | ImageError:
        part = image.part
        try:
            if isinstance(part, Unreadable):
                return ImageError(part.reason, part.detail)
            if part is None:
                known = None
                if image.etag is not None:
                    known = FileStatus(image.size_bytes, image.etag)
                return self._stores.of(image.uri).read(image.uri, known, max_bytes)
            if isinstance(part, ParquetRow) or part.compression is not None:
                return self._cursors.read(self._stores.of(part.file), image, max_bytes)
            (content,) = self._fetch_span((image,), max_bytes)
            return content
        except ImageError as error:
            return error
        except (UsageError, StorageFailedError) as error:  # a URI that is none, a HEAD that failed
            return ImageError(Reason.FETCH_FAILED, str(error))

    def _fetch_span(
        self, images: tuple[ImageRecord, ...], max_bytes: int
    ) -> list[bytes | ImageError]:
        """Neighbours in a plain tar, by one read."""
        first, last = images[0], images[-1]
        if len(images) == 1 and first.size_bytes > max_bytes:
            return [too_large(first.size_bytes, max_bytes)]
        assert isinstance(first.part, TarMember)
        assert isinstance(last.part, TarMember)
        start, end = first.part.offset, last.part.offset + last.size_bytes
        try:
            span = self._stores.of(first.part.file).read_range(
                first.part.file, first.etag, start, end - start
            )
        except ImageError as error:
            return [error] * len(images)
        results: list[bytes | ImageError] = []
        for image in images:
            assert isinstance(image.part, TarMember)
            offset = image.part.offset - start
            content = span[offset : offset + image.size_bytes]
            if image.size_bytes > max_bytes:
                results.append(too_large(image.size_bytes, max_bytes))
            elif len(content) == image.size_bytes:
                results.append(content)
            else:
                results.append(ImageError(Reason.TRUNCATED, "the tar ends within it"))
        return results


def _folder_of(image: ImageRecord) -> str:
    """The folder of an S3 archive that an image is from, as far as its key tells."""
    uri = image.uri if image.container is None else image.container.partition("#")[0]
    is_below = uri.endswith("/" + image.key)
    return uri.removesuffix(image.key) if is_below else uri[: uri.rindex("/") + 1]
