"""An archive: one or several sources under one roof of unique keys."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.records import ImageRecord
from pipeline.sources.base import Fetcher, Source
from pipeline.sources.prefetch import in_pages, pages_in_order

__all__ = ["Archive", "Part"]

_RECORDS_A_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """One source of an archive.

    Attributes:
        source: of its images.
        names: of the INPUTs that it stands for.
        folder: absolute path or URI that its keys are relative to.
        keys_are_free: keys are the archive's own, and not paths.
    """

    source: Source
    names: tuple[str, ...]
    folder: str
    keys_are_free: bool = False


class Archive:
    """All that a job is to tag.

    With one part, keys are as the part has them. With several, a part's keys get the name of its
    folder before them; where folders have the same name, as many of those above it as tell them
    apart: `a/photos/x.jpg` and `b/photos/x.jpg` for the inputs /m/a/photos and /m/b/photos.

    Args:
        parts: at least one.
        fetcher: gets the bytes of all of them.

    Raises:
        UsageError: keys of two parts could be the same, or columns of two have one name.
    """

    def __init__(self, parts: Sequence[Part], fetcher: Fetcher) -> None:
        self.names = tuple(name for part in parts for name in part.names)
        self.fetcher = fetcher
        repeated = next((name for name in self.names if self.names.count(name) > 1), None)
        if repeated is not None:
            raise UsageError(f"input: {repeated} is given twice")
        self._parts = parts
        self._labels = _labels(parts)
        fields = {field.name: field for part in parts for field in part.source.kept}
        for part in parts:
            if part.source.kept != pa.schema(fields.values()):
                raise UsageError(
                    "keep-columns: all inputs must have these columns, of the same types"
                )
        self.kept = pa.schema(fields.values())

    def list_images(self) -> Iterator[ImageRecord]:
        """All images, each key once, in the same order on every run; see `Source.list_images`."""
        if len(self._parts) == 1:
            yield from self._parts[0].source.list_images()
            return
        pages = (
            partial(in_pages, self._labelled(label, part), _RECORDS_A_PAGE)
            for label, part in zip(self._labels, self._parts, strict=True)
        )
        for page in pages_in_order(pages, num_ahead=1):
            yield from page

    def _labelled(self, label: str, part: Part) -> Iterator[ImageRecord]:
        for image in part.source.list_images():
            yield replace(image, key=f"{label}/{image.key}") if label else image

    def count_images(self) -> int | None:
        """How many there are; None if telling would cost as much as reading the archive."""
        total = 0
        for part in self._parts:
            count = part.source.count_images()
            if count is None:
                return None
            total += count
        return total


def _labels(parts: Sequence[Part]) -> list[str]:
    """What to put before the keys of each part; nothing if all are of one folder."""
    folders = {part.folder for part in parts}
    for folder in folders:
        inside = [part for part in parts if part.folder == folder]
        if len(inside) > 1 and any(part.keys_are_free for part in inside):
            names = " and ".join(part.names[0] for part in inside[:2])
            raise UsageError(f"input: {names} may have the same keys; give them runs of their own")
    if len(folders) == 1:
        return [""] * len(parts)
    path_of = {folder: _components(folder) for folder in folders}
    for length in range(1, max(map(len, path_of.values())) + 1):
        label_of = {folder: "/".join(path[-length:]) for folder, path in path_of.items()}
        if len(set(label_of.values())) == len(folders) and not _are_nested(label_of.values()):
            return [label_of[part.folder] for part in parts]
    raise UsageError(f"input: {' and '.join(sorted(folders))} would give the same keys")


def _are_nested(labels: Collection[str]) -> bool:
    """Whether a key below one label could lie below another as well."""
    return any(one.startswith(f"{other}/") for one in labels for other in labels)


def _components(folder: str) -> list[str]:
    _, _, path = folder.rpartition("://")
    return [part for part in path.split("/") if part] or ["root"]
