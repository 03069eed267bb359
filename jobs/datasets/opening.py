"""Which format a data set has, by its name and by what lies in its folder."""

import re
from collections.abc import Iterator
from pathlib import Path

from jobs.datasets.base import LabelledSource
from jobs.datasets.drawn import DrawnShapes
from jobs.datasets.folder import TRUTH, ClassFolders, TruthFolder
from jobs.datasets.parquet import ParquetFiles
from jobs.datasets.tar import TarFiles
from pipeline.errors import UsageError

__all__ = ["open_labelled"]

_TAR, _PARQUET = (".tar", ".tar.gz", ".tgz"), (".parquet",)
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def open_labelled(data: str, max_bytes: int) -> LabelledSource:
    """The data set of that name.

    Args:
        data: see the package's text for what may be named.
        max_bytes: pictures inside tars and Parquet files that are longer cannot be read.

    Raises:
        UsageError: there is nothing of that name, or it is of no known format.
    """
    drawn = re.fullmatch(r"shapes:(\d+)(?::(\d+))?", data)
    if drawn:
        return DrawnShapes(int(drawn[1]), int(drawn[2] or 0))
    paths = list(_paths(data))
    if len(paths) == 1 and paths[0].is_dir():
        return _of_folder(paths[0], max_bytes)
    if all(_ends(path, _TAR) for path in paths):
        return TarFiles(tuple(paths), max_bytes)
    if all(_ends(path, _PARQUET) for path in paths):
        return ParquetFiles(tuple(paths), max_bytes)
    raise UsageError(
        f"data: must be one folder, or files that all end in {', '.join(_TAR)} or all in "
        f"{', '.join(_PARQUET)} (got {data})"
    )


def _of_folder(folder: Path, max_bytes: int) -> LabelledSource:
    if (folder / TRUTH).is_file():
        return TruthFolder(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    # Tars first: img2dataset writes Parquet files of metadata beside them, without pictures.
    if tars := tuple(path for path in files if _ends(path, _TAR)):
        return TarFiles(tars, max_bytes)
    if tables := tuple(path for path in files if _ends(path, _PARQUET)):
        return ParquetFiles(tables, max_bytes)
    return ClassFolders(folder)


def _ends(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)


def _paths(data: str) -> Iterator[Path]:
    """Existing paths behind a path, a glob, or either with ranges in braces."""
    literal = Path(data).expanduser()
    if literal.exists():
        yield literal
        return
    for pattern in _without_ranges(data):
        path = Path(pattern).expanduser()
        found = [path] if path.exists() else []
        if not found and any(mark in pattern for mark in "*?["):
            root = Path(path.anchor)
            found = sorted(root.glob(str(path.relative_to(path.anchor))))
        if not found:
            raise UsageError(
                f"data: no such folder or file: {pattern}; allowed are folders, .tar and .parquet "
                "files, globs, ranges such as {000..012}, and shapes:NUM:SEED"
            )
        yield from found


def _without_ranges(pattern: str) -> Iterator[str]:
    """`a-{08..10}.tar` is a-08.tar, a-09.tar, a-10.tar, as the shell and WebDataset have it."""
    braces = _RANGE.search(pattern)
    if braces is None:
        yield pattern
        return
    first, last = braces.groups()
    if int(last) < int(first):
        raise UsageError(f"data: a range must not go down (got {braces[0]} in {pattern})")
    for number in range(int(first), int(last) + 1):
        middle = f"{number:0{len(first)}}"
        yield from _without_ranges(pattern[: braces.start()] + middle + pattern[braces.end() :])
