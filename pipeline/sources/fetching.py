"""Reads the bytes of listed images ahead by threads, in order; each failure concerns one image."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.decoding import other_kind
from pipeline.errors import ImageError, Reason, StorageDeniedError, StorageFailedError, UsageError
from pipeline.file_kinds import HEAD_BYTES, FileKind, is_picture_name, named_kind
from pipeline.records import ImageRecord, ParquetRow, TarMember, Unreadable, ZipMember
from pipeline.sources.cursors import Cursors
from pipeline.sources.fetch_tasks import ASSUMED_BYTES, FetchStrategy, FetchTask, fetch_tasks
from pipeline.sources.zip_entries import read_member
from pipeline.storage import FileStatus, S3Options, Store, Stores
from pipeline.storage.base import too_large
from pipeline.storage.errors import ObjectDeniedError
from pipeline.storage.s3_connection import NUM_CONNECTIONS

__all__ = ["ArchiveFetcher"]

# A local disk needs little read-ahead, and recently used memory is faster.
_READ_AHEAD_BYTES, _LOCAL_READ_AHEAD_BYTES = 64 * 2**20, 8 * 2**20
_READ_AT_ONCE_BYTES = 2**20  # of a file whose name does not say what it is
# One thread reads a file forward, so that its cursor never goes back.
_NUM_THREADS = {FetchStrategy.FORWARD: 1, FetchStrategy.LOCAL: 4}
# After so many consecutive denials, other objects are probed: before the first image is read, and
# later.
_PROBE_AT_FIRST, _PROBE_LATER = 8, 1000

_Content = bytes | ImageError


class ArchiveFetcher:
    """See `Fetcher`; used by one thread.

    Args:
        s3: how requests to S3 are sent.
    """

    def __init__(self, s3: S3Options | None = None) -> None:
        self._s3 = s3
        self._stores = Stores(s3)
        self._cursors = Cursors()
        self._pools: dict[FetchStrategy, ThreadPoolExecutor] = {}
        self._has_read = False
        self._num_denied = 0

    def __reduce__(self) -> tuple[type["ArchiveFetcher"], tuple[S3Options | None]]:
        return ArchiveFetcher, (self._s3,)

    def fetch_all(self, images: Sequence[ImageRecord], max_bytes: int) -> Iterator[_Content]:
        """See `Fetcher.fetch_all`; holds up to 64 MiB and one image."""
        errors = [_error_by_name(image) for image in images]
        read = [image for image, error in zip(images, errors, strict=True) if error is None]
        contents = self._contents(read, max_bytes)
        for image, error in zip(images, errors, strict=True):
            if error is not None:
                yield error
                continue
            content = next(contents)
            if isinstance(content, ObjectDeniedError):
                self._note_denial(content, image)
            elif not isinstance(content, ImageError):
                self._has_read = True
                self._num_denied = 0
            yield content

    def _note_denial(self, denied: ObjectDeniedError, image: ImageRecord) -> None:
        """Raises if the archive as a whole, rather than some images, cannot be read."""
        self._num_denied += 1
        if self._num_denied < (_PROBE_LATER if self._has_read else _PROBE_AT_FIRST):
            return
        folder = _folder_of(image)
        if not self._stores.s3.can_read_some_of(folder):
            raise StorageDeniedError(
                f"storage: {denied.detail} to {self._num_denied} consecutive images, and to all "
                f"others that were tried in {folder}; check the permissions of the credentials"
            )
        self._has_read = True
        self._num_denied = 0

    def _contents(self, images: Sequence[ImageRecord], max_bytes: int) -> Iterator[_Content]:
        tasks = deque(fetch_tasks(images))
        running: deque[tuple[FetchTask, Future[list[_Content]]]] = deque()
        num_bytes = 0
        try:
            while tasks or running:
                while tasks and len(running) < 2 * NUM_CONNECTIONS:
                    size = tasks[0].num_bytes
                    is_local = tasks[0].strategy is FetchStrategy.LOCAL
                    limit = _LOCAL_READ_AHEAD_BYTES if is_local else _READ_AHEAD_BYTES
                    if running and num_bytes + size > limit:
                        break
                    task = tasks.popleft()
                    running.append((task, self._pool(task).submit(self._fetch, task, max_bytes)))
                    num_bytes += size
                task, contents = running.popleft()
                for image, content in zip(task.images, contents.result(), strict=True):
                    if _is_longer_than_assumed(image, content):
                        yield from self._fetch(task.only(image), max_bytes, is_ahead=False)
                    else:
                        yield content
                num_bytes -= task.num_bytes
        finally:
            for _, contents in running:
                contents.cancel()

    def _pool(self, task: FetchTask) -> ThreadPoolExecutor:
        if task.strategy not in self._pools:
            num_threads = _NUM_THREADS.get(task.strategy, NUM_CONNECTIONS)
            name = f"fetch-{task.strategy.name.lower()}"
            self._pools[task.strategy] = ThreadPoolExecutor(num_threads, name)
        return self._pools[task.strategy]

    def _fetch(self, task: FetchTask, max_bytes: int, *, is_ahead: bool = True) -> list[_Content]:
        """The contents of a task; ahead of the caller, files of unknown size only if short."""
        is_adjacent = task.strategy is FetchStrategy.ADJACENT
        groups = [task.images] if is_adjacent else [(image,) for image in task.images]
        contents: list[_Content] = []
        for images in groups:
            try:
                is_short = is_ahead and _has_unknown_size(images[0])
                limit = min(max_bytes, ASSUMED_BYTES) if is_short else max_bytes
                contents += self._read(images, limit)
            except ImageError as error:
                contents += [error] * len(images)
            except (UsageError, StorageFailedError) as error:
                contents += [ImageError(Reason.FETCH_FAILED, str(error))] * len(images)
        return contents

    def _read(self, images: tuple[ImageRecord, ...], max_bytes: int) -> list[_Content]:
        """One image, or adjacent members of a tar."""
        image = images[0]
        part = image.part
        if isinstance(part, Unreadable):
            raise ImageError(part.reason, part.detail)
        if part is None:
            return [_read_file(self._stores.of(image.uri), image, max_bytes)]
        store = self._stores.of(part.file)
        if isinstance(part, ZipMember):
            return [read_member(store, part, image.etag, image.size_bytes, max_bytes)]
        if isinstance(part, ParquetRow) or part.compression is not None:
            content = self._cursors.read(store, image, max_bytes)
            if isinstance(content, str):
                content = self._stores.of(content).read(content, None, max_bytes)
            return [content]
        return _read_members(store, images, max_bytes)


def _error_by_name(image: ImageRecord) -> ImageError | None:
    """The error for a file that by its name is certainly no picture.

    A row of a column of pictures is always read: its key may name what the picture is of.
    """
    if image.file_name is None or isinstance(image.part, ParquetRow):
        return None
    kind = named_kind(image.file_name)
    if kind is None:
        return None
    return ImageError(Reason.NOT_AN_IMAGE, f"its name is of no picture ({kind})", kind)


def _read_file(store: Store, image: ImageRecord, max_bytes: int) -> bytes:
    """A whole file; a large one without a picture's name only if its start may be of a picture."""
    status = None if image.etag is None else FileStatus(image.size_bytes, image.etag)
    if image.file_name is None or is_picture_name(image.file_name):
        return store.read(image.uri, status, max_bytes)
    try:
        return store.read(image.uri, status, min(max_bytes, _READ_AT_ONCE_BYTES))
    except ImageError as error:
        if error.reason is not Reason.TOO_LARGE:
            raise
    kind = other_kind(store.read_range(image.uri, image.etag, 0, HEAD_BYTES))
    if kind not in (None, FileKind.UNKNOWN):
        raise ImageError(Reason.NOT_AN_IMAGE, f"its content is no picture ({kind})", kind)
    try:
        return store.read(image.uri, status, max_bytes)
    except ImageError as failure:
        if failure.reason is Reason.TOO_LARGE:
            failure.kind = kind
        raise


def _has_unknown_size(image: ImageRecord) -> bool:
    return image.part is None and not image.size_bytes


def _is_longer_than_assumed(image: ImageRecord, content: _Content) -> bool:
    is_too_large = isinstance(content, ImageError) and content.reason is Reason.TOO_LARGE
    return is_too_large and _has_unknown_size(image)


def _read_members(store: Store, images: tuple[ImageRecord, ...], max_bytes: int) -> list[_Content]:
    """Adjacent members of an uncompressed tar, by one read from the first to the last."""
    places = [(_offset(image), image.size_bytes) for image in images]
    start, end = places[0][0], sum(places[-1])
    if len(images) == 1 and end - start > max_bytes:
        raise too_large(end - start, max_bytes)
    assert images[0].part is not None
    read = store.read_range(images[0].part.file, images[0].etag, start, end - start)
    contents: list[_Content] = []
    for offset, size_bytes in places:
        content = read[offset - start : offset - start + size_bytes]
        if size_bytes > max_bytes:
            contents.append(too_large(size_bytes, max_bytes))
        elif len(content) < size_bytes:
            contents.append(ImageError(Reason.TRUNCATED, "the tar ends within it"))
        else:
            contents.append(content)
    return contents


def _offset(image: ImageRecord) -> int:
    assert isinstance(image.part, TarMember)
    return image.part.offset


def _folder_of(image: ImageRecord) -> str:
    """The folder of an S3 archive that holds an image, as far as its key shows it."""
    uri = image.uri if image.container is None else image.container.partition("#")[0]
    is_below = uri.endswith("/" + image.key)
    return uri.removesuffix(image.key) if is_below else uri[: uri.rindex("/") + 1]
