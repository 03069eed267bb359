"""All that a job tags: one or several sources with unique keys."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.records import ImageRecord
from pipeline.sources.base import Fetcher, Source
from pipeline.sources.keys import with_unique_keys
from pipeline.sources.patterns import KeyFilter
from pipeline.sources.read_ahead import concatenate

__all__ = ["Archive", "InputSource"]


@dataclass(frozen=True, slots=True)
class InputSource:
    """One source of an archive.

    Attributes:
        source: its images.
        names: of the INPUTs that it stands for.
        folder: absolute URI that its keys are relative to.
        keys_are_free: keys come from the data rather than from paths.
    """

    source: Source
    names: tuple[str, ...]
    folder: str
    keys_are_free: bool = False


class Archive(Source):
    """The images of all INPUTs.

    With one source, keys are its own. With several, the name of the source's folder precedes each
    key, with as many parent folders as make these prefixes different: `a/photos/x.jpg` and
    `b/photos/x.jpg` for the INPUTs /m/a/photos and /m/b/photos.

    Args:
        sources: at least one.
        fetcher: reads the bytes of all of them.
        patterns: select images by key.

    Raises:
        UsageError: two sources may have the same keys, or columns of different types.
    """

    def __init__(
        self,
        sources: Sequence[InputSource],
        fetcher: Fetcher,
        patterns: KeyFilter | None = None,
    ) -> None:
        self.names = tuple(name for source in sources for name in source.names)
        self.fetcher = fetcher
        repeated = next((name for name in self.names if self.names.count(name) > 1), None)
        if repeated is not None:
            raise UsageError(f"input: {repeated} is given twice")
        self._sources = sources
        self._patterns = patterns or KeyFilter()
        self.is_cheap_to_list = all(source.source.is_cheap_to_list for source in sources)
        self._prefixes = _prefixes(sources)
        fields = {field.name: field for source in sources for field in source.source.kept}
        self.kept = pa.schema(fields.values())
        if any(source.source.kept != self.kept for source in sources):
            raise UsageError("keep-columns: all inputs must have these columns, of the same types")

    def list_images(self) -> Iterator[ImageRecord]:
        """See `Source.list_images`; holds 8 bytes per image that was listed."""
        images = self._sources[0].source.list_images()
        if len(self._sources) > 1:
            images = concatenate(map(_prefixed, self._sources, self._prefixes), num_ahead=1)
        return with_unique_keys(images, self._patterns)


def _prefixed(source: InputSource, prefix: str) -> Iterator[ImageRecord]:
    for image in source.source.list_images():
        if prefix:
            others = tuple(f"{prefix}/{key}" for key in image.other_keys)
            image = replace(image, key=f"{prefix}/{image.key}", other_keys=others)
        yield image


def _prefixes(sources: Sequence[InputSource]) -> list[str]:
    """What precedes the keys of each source; nothing if all have one folder."""
    folders = {source.folder for source in sources}
    for folder in folders:
        inside = [source for source in sources if source.folder == folder]
        if len(inside) > 1 and any(source.keys_are_free for source in inside):
            names = " and ".join(source.names[0] for source in inside[:2])
            raise UsageError(f"input: {names} may have the same keys; tag them in separate runs")
    if len(folders) == 1:
        return [""] * len(sources)
    path_of = {folder: _components(folder) for folder in folders}
    for length in range(1, max(map(len, path_of.values())) + 1):
        prefix_of = {folder: "/".join(path[-length:]) for folder, path in path_of.items()}
        if len(set(prefix_of.values())) == len(folders) and not _are_nested(prefix_of.values()):
            return [prefix_of[source.folder] for source in sources]
    raise UsageError(f"input: {' and '.join(sorted(folders))} would give the same keys")


def _are_nested(prefixes: Collection[str]) -> bool:
    """Whether a key below one prefix could also lie below another."""
    return any(one.startswith(f"{other}/") for one in prefixes for other in prefixes)


def _components(folder: str) -> list[str]:
    scheme, _, path = folder.rpartition("://")
    if scheme == "file":  # escaped, unlike the keys
        path = unquote(path, errors="backslashreplace")
    return [part for part in path.split("/") if part] or ["root"]
