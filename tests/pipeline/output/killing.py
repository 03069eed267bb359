"""Ends a run at any of its writes, commits and deletions, as if its process were killed there."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from pipeline.output.lease import FOLDER, Owner
from pipeline.storage.local_output import LocalOutputStore


class Killed(BaseException):
    """The end of the process."""


@contextmanager
def killed_at(number: int) -> Iterator[Callable[[], bool]]:
    """Raises `Killed` in place of the operation of that number, from 0, and of all later ones.

    Yields:
        Whether that operation was reached.
    """
    num_operations = 0

    def count() -> None:
        nonlocal num_operations
        num_operations += 1
        if num_operations > number:
            raise Killed

    def counted(kind: Any, name: str) -> None:
        original = getattr(kind, name)

        def operation(*arguments: Any, **options: Any) -> Any:
            count()
            return original(*arguments, **options)

        patch.setattr(kind, name, operation)

    delete = LocalOutputStore.delete

    def delete_each(store: LocalOutputStore, names: Iterable[str]) -> None:
        for name in names:
            count()
            delete(store, [name])

    with pytest.MonkeyPatch.context() as patch:
        counted(LocalOutputStore, "write")
        counted(LocalOutputStore, "create")
        counted(DeltaTable, "create_write_transaction")
        patch.setattr(LocalOutputStore, "delete", delete_each)
        yield lambda: num_operations > number


def end_lease(folder: Path) -> None:
    """Frees an output whose run was killed: a run in this process would pass for alive."""
    for path in (folder / FOLDER).glob("*.json"):
        owner = Owner.model_validate_json(path.read_bytes())
        path.write_text(owner.model_copy(update={"ended": True}).model_dump_json())
