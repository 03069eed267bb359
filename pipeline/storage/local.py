"""A folder as a place, on a local disk or a network file system; needs no file locks."""

import errno
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.fs as pa_fs

from pipeline.storage.errors import output_failures

__all__ = ["LocalOutputStore"]

# Some network and user-space file systems have no hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class LocalOutputStore:
    """See `OutputStore`.

    Args:
        folder: need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self.uri = str(folder)
        self.local_folder: Path | None = self._folder
        self.delta_options: dict[str, str] = {}

    def child(self, name: str) -> "LocalOutputStore":
        """See `OutputStore`."""
        return LocalOutputStore(self._folder / name)

    def prepare(self) -> None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            self._folder.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes | None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            try:
                return (self._folder / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, content: bytes | memoryview) -> None:
        """See `OutputStore`."""
        partial = self._folder / f".{name}.partial"
        with output_failures(self.uri):
            try:
                _write_through(partial, content)
                partial.replace(self._folder / name)
            except OSError:
                with suppress(OSError):  # on a full disk it would keep the last of the space
                    partial.unlink(missing_ok=True)
                raise

    def create(self, name: str, content: bytes) -> bool:
        """See `OutputStore`; a hard link appears whole, and fails if the name is taken, also on NFS."""
        target = self._folder / name
        partial = self._folder / f".{name}.{uuid.uuid4().hex}.partial"
        with output_failures(self.uri):
            try:
                _write_through(partial, content)
                os.link(partial, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return _create_in_place(target, content)
            finally:
                with suppress(OSError):
                    partial.unlink(missing_ok=True)
            return True

    def names(self) -> Iterator[str]:
        """See `OutputStore`."""
        with output_failures(self.uri):
            try:
                with os.scandir(self._folder) as entries:
                    found = [entry.name + "/" * entry.is_dir() for entry in entries]
            except FileNotFoundError:
                found = []
        yield from found

    def delete(self, names: Iterable[str]) -> None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            for name in names:
                (self._folder / name).unlink(missing_ok=True)

    def age_s(self, name: str) -> float | None:
        """See `OutputStore`; a file server's clock may differ from this machine's, so it is asked."""
        probe = self._folder / f".{uuid.uuid4().hex}.partial"
        with output_failures(self.uri):
            try:
                written = (self._folder / name).stat().st_mtime
                probe.touch()
                return max(0.0, probe.stat().st_mtime - written)
            except FileNotFoundError:
                return None
            finally:
                with suppress(OSError):
                    probe.unlink(missing_ok=True)

    def arrow(self) -> Any:
        """See `OutputStore`."""
        return pa_fs.SubTreeFileSystem(str(self._folder), pa_fs.LocalFileSystem())


def _write_through(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())  # a log must never name a file that a power cut empties


def _create_in_place(target: Path, content: bytes) -> bool:
    try:
        with target.open("xb") as stream:
            stream.write(content)
    except FileExistsError:
        return False
    return True
