"""The shards of an archive, listed once: ahead of the work, so that their number is known early.

A listing is far faster than the work. What it is ahead waits in memory, and past some shards in an
unnamed temporary file of bounded size. Tars are listed no further than the work needs, because
listing one means reading it.
"""

import pickle
import tempfile
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, Self

from pipeline.sources.base import Source
from pipeline.sources.sharding import Shard, cut_shards

__all__ = ["ShardListing"]

_WAIT_S = 0.02
_IN_MEMORY = 64  # shards
_SPOOL_BYTES = 2**30  # about 20 million images
_LENGTH_BYTES = 8


class ShardListing(Iterator[Shard | None]):
    """Lists an archive in a thread; use it in a `with` block.

    Yields None whenever the next shard is not listed within 20 ms.

    Args:
        source: the archive.
        in_memory: shards that wait in memory.
        spool_bytes: size of the temporary file for more.

    Attributes:
        is_ahead: the number of images is known long before the work ends.
    """

    def __init__(
        self, source: Source, in_memory: int = _IN_MEMORY, spool_bytes: int = _SPOOL_BYTES
    ) -> None:
        self.is_ahead = source.is_cheap_to_list
        self._source = source
        self._in_memory = in_memory if self.is_ahead else 1
        self._spool = _Spool(spool_bytes) if self.is_ahead else None
        self._shards: deque[Shard] = deque()
        self._changed = threading.Condition()
        self._num_images = 0
        self._error: Exception | None = None
        self._has_ended = self._is_closed = False
        self._thread = threading.Thread(target=self._list, daemon=True, name="list-archive")
        self._thread.start()

    @property
    def num_images(self) -> int | None:
        """Images in the archive; None until all are listed, or if the listing has failed."""
        return self._num_images if self._has_ended and self._error is None else None

    def __next__(self) -> Shard | None:
        """The next shard.

        Raises:
            StorageDeniedError: access to the storage is denied.
            StorageFailedError: the storage keeps failing.
        """
        with self._changed:
            if not self._num_waiting and not self._has_ended:
                self._changed.wait(_WAIT_S)
            if self._num_waiting:
                if not self._shards and self._spool is not None:
                    self._shards.append(self._spool.get())
                shard = self._shards.popleft()
                self._changed.notify_all()
                return shard
            if not self._has_ended:
                return None
        if self._error is not None:
            raise self._error
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._is_closed = True
            if self._spool is not None:
                self._spool.close()
            self._changed.notify_all()

    @property
    def _num_waiting(self) -> int:
        return len(self._shards) + (0 if self._spool is None else len(self._spool))

    def _list(self) -> None:
        error = None
        try:
            for shard in cut_shards(self._source.list_images()):
                with self._changed:
                    while not (self._is_closed or self._put(shard)):
                        self._changed.wait()
                    if self._is_closed:
                        return
                    self._num_images += len(shard.images)
                    self._changed.notify_all()
        except Exception as caught:  # noqa: BLE001 - raised to whoever takes the next shard
            error = caught
        with self._changed:
            self._error = error
            self._has_ended = True
            self._changed.notify_all()

    def _put(self, shard: Shard) -> bool:
        """Whether there was room; shards in memory are always earlier than those in the file."""
        is_in_order = self._spool is None or not len(self._spool)
        if is_in_order and len(self._shards) < self._in_memory:
            self._shards.append(shard)
            return True
        is_put = self._spool is not None and self._spool.put(shard)
        self.is_ahead = self.is_ahead and is_put
        return is_put


class _Spool:
    """A queue of shards in a temporary file, which is emptied when all have been taken."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None
        self._written = self._read = self._num_shards = 0

    def __len__(self) -> int:
        return self._num_shards

    def put(self, shard: Shard) -> bool:
        """Whether there was room for a shard, in the file and on the disk."""
        content = zlib.compress(pickle.dumps(shard, pickle.HIGHEST_PROTOCOL), 1)
        if self._written + len(content) > self._max_bytes:
            return False
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long
            self._file.seek(self._written)
            self._file.write(len(content).to_bytes(_LENGTH_BYTES, "little") + content)
        except OSError:
            return False
        self._written = self._file.tell()
        self._num_shards += 1
        return True

    def get(self) -> Shard:
        """Takes the first shard."""
        assert self._file is not None, "put before get"
        self._file.seek(self._read)
        length = int.from_bytes(self._file.read(_LENGTH_BYTES), "little")
        shard = pickle.loads(zlib.decompress(self._file.read(length)))
        assert isinstance(shard, Shard)
        self._read = self._file.tell()
        self._num_shards -= 1
        if not self._num_shards:
            self._read = self._written = 0
            self._file.truncate(0)
        return shard

    def close(self) -> None:
        """Removes the file."""
        if self._file is not None:
            self._file.close()
