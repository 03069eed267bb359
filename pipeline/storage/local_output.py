"""An output in a folder, on a local disk or a network file system; uses no file locks."""

import errno
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.fs as pa_fs

from pipeline.storage.base import OutputStore
from pipeline.storage.errors import output_failures

__all__ = ["LocalOutputStore", "whole_name"]

# Raised by network and user-space file systems without hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

_PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{32}\.partial")


def whole_name(name: str) -> str:
    """The name of a file without what marks it as unfinished, which a killed run leaves."""
    match = _PARTIAL.fullmatch(name)
    return name if match is None else match[1]


class LocalOutputStore(OutputStore):
    """See `OutputStore`.

    Args:
        folder: need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self.uri = self.delta_url = str(folder)
        self.local_folder = self._folder
        self._has_links = True

    @property
    def delta_options(self) -> dict[str, str]:
        """See `OutputStore`.

        Without hard links, Delta Lake renames files, which may replace a commit of another run.
        Only the lease prevents that.
        """
        return {} if self._has_links else {"allow_unsafe_rename": "true"}

    def child(self, name: str) -> "LocalOutputStore":
        """See `OutputStore`."""
        return LocalOutputStore(self._folder / name)

    def prepare(self) -> None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._has_links = self._can_link()

    def _can_link(self) -> bool:
        """Whether the file system has hard links; true if that is unknown."""
        probe = self._folder / f".{uuid.uuid4().hex}.partial"
        link = probe.with_suffix(".link.partial")
        try:
            probe.touch()
            os.link(probe, link)
        except OSError as error:
            return error.errno not in _NO_LINKS
        finally:
            for path in (probe, link):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        return True

    def read(self, name: str) -> bytes | None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            try:
                return (self._folder / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, content: bytes | memoryview) -> None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            for is_last in (False, True):
                partial = self._folder / f".{name}.{uuid.uuid4().hex}.partial"
                try:
                    _write_through(partial, content)
                    partial.replace(self._folder / name)
                    return _sync(self._folder)
                except FileNotFoundError:  # a later run has removed it while this one slept
                    if is_last:
                        raise
                except OSError:
                    with suppress(OSError):  # on a full disk, give its space back
                        partial.unlink(missing_ok=True)
                    raise

    def create(self, name: str, content: bytes) -> bool:
        """See `OutputStore`; a hard link is atomic, on NFS too."""
        target = self._folder / name
        partial = self._folder / f".{name}.{uuid.uuid4().hex}.partial"
        with output_failures(self.uri):
            try:
                _write_through(partial, content)
                os.link(partial, target)
                _sync(self._folder)
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
            folders = {self._folder}
            for name in names:
                path = self._folder / name
                path.unlink(missing_ok=True)
                folders.add(path.parent)
            for folder in folders:
                _sync(folder)

    def sync(self, names: Iterable[str]) -> None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            for name in names:
                path = self._folder / name
                _sync(path)
                _sync(path.parent)

    def age_s(self, name: str) -> float | None:
        """See `OutputStore`; a new file shows the time of the file server's clock."""
        probe = self._folder / f".{uuid.uuid4().hex}.partial"
        with output_failures(self.uri):
            try:
                written = (self._folder / name).stat().st_mtime
                probe.touch()
                return probe.stat().st_mtime - written
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
        os.fsync(stream.fileno())  # after a power cut the Delta log must not name an empty file


def _sync(path: Path) -> None:
    """Writes a file, or the names in a folder, through to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(descriptor)


def _create_in_place(target: Path, content: bytes) -> bool:
    try:
        with target.open("xb") as stream:
            stream.write(content)
    except FileExistsError:
        return False
    return True
