"""What the output asks of the storage below it: few operations, each whole or not done at all."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

__all__ = ["OutputStore"]


class OutputStore(Protocol):
    """A folder or prefix; travels to the write actor, so it must pickle.

    Names are relative to it, `/`-separated. All operations raise `OutputFailedError` when the storage
    does, after it was asked again for a while.
    """

    @property
    def uri(self) -> str:
        """As Delta Lake and a person know it."""
        ...

    @property
    def local_folder(self) -> Path | None:
        """The folder, if it is one of this machine's file system."""
        ...

    @property
    def delta_options(self) -> dict[str, str]:
        """Options of Delta Lake for tables below; no credentials, these have their own chain."""
        ...

    def child(self, name: str) -> "OutputStore":
        """A folder below."""
        ...

    def prepare(self) -> None:
        """Makes the folder, where there is such a thing."""
        ...

    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is no such file."""
        ...

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Puts a file in place in one step, durably; replaces an earlier one."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Puts a file in place unless there is one; of several at a time, one gets True."""
        ...

    def names(self) -> Iterator[str]:
        """What lies directly here, in any order; folders end with a slash."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Removes files; those that are gone already do not matter."""
        ...

    def age_s(self, name: str) -> float | None:
        """Seconds since a file was written, by the storage's own clock; None if there is none."""
        ...

    def arrow(self) -> Any:
        """The place as a file system of pyarrow, to read from."""
        ...
