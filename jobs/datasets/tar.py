"""Tar files, read from front to back: WebDataset's layout, or class folders inside.

Members whose names agree up to the first dot, and that follow each other, are one sample: a picture
and its label in `.cls` (class id or name), `.json` (fields `label`, `label_name`) or `.txt` (class
name), looked for in this order. A picture without any has the name of its folder as its label.
Nothing is written to disk; links, devices and names that lead out of the archive are left out.
Source: the WebDataset format (github.com/webdataset/webdataset), as img2dataset writes it too.
"""

import json
import logging
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from jobs.datasets.base import EncodedPicture, Label, Sample
from pipeline.errors import UsageError

__all__ = ["TarFiles"]

logger = logging.getLogger(__name__)

_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".avif"}
_LABELS = (".cls", ".json", ".txt")
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error, LZMAError)


_LONG_NAMES = {
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}
_LONGEST_NAME_BYTES = 1 << 20


class _Entry(tarfile.TarInfo):
    """A header; those that hold a name are read whole by `tarfile`, so their length is checked."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG_NAMES and self.size > _LONGEST_NAME_BYTES:
            raise tarfile.ReadError(f"a name of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


@dataclass(frozen=True, slots=True)
class _Member:
    """A picture or a label; its content is None if that is longer than may be read."""

    name: PurePosixPath
    content: bytes | None

    @property
    def stem(self) -> str:
        """What the files of one sample share: the path up to the first dot of its last part."""
        return str(self.name.parent / self.name.name.partition(".")[0])

    @property
    def label_format(self) -> str | None:
        """Which of `_LABELS` this is, if any."""
        extension = "".join(self.name.suffixes).lower()
        return extension if extension in _LABELS else None


@dataclass(frozen=True, slots=True)
class TarFiles:
    """Tar files, compressed or not, one after the other."""

    paths: tuple[Path, ...]
    max_bytes: int
    class_names = None

    def labels(self) -> None:
        """Only reading an archive from front to back tells."""

    def samples(self) -> Iterator[Sample]:
        """See `LabelledSource.samples`; keys are TARNAME/member without its last extension."""
        for path in self.paths:
            try:
                for stem, members in groupby(self._members(path), key=lambda member: member.stem):
                    yield from _samples(f"{path.name}/{stem}", members)
            except _DAMAGE as error:
                raise UsageError(f"data: {path} cannot be read to its end: {error}") from error

    def _members(self, path: Path) -> Iterator[_Member]:
        num_left_out = 0
        with tarfile.open(path, "r|*", tarinfo=_Entry) as archive:
            while (entry := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # or it keeps them all
                name = PurePosixPath(entry.name)
                if not entry.isreg() or name.is_absolute() or ".." in name.parts:
                    num_left_out += not entry.isdir()
                elif _is_wanted(name):
                    file = archive.extractfile(entry) if entry.size <= self.max_bytes else None
                    yield _Member(name, None if file is None else file.read())
        if num_left_out:
            logger.warning(
                "left out %d members of %s: links, devices, or names that lead out of the archive",
                num_left_out,
                path,
            )


def _is_wanted(name: PurePosixPath) -> bool:
    """Pictures and labels; hidden files are neither, such as macOS's `._a.jpg`."""
    is_hidden = any(part.startswith(".") for part in name.parts)
    return not is_hidden and name.suffix.lower() in _PICTURES.union(_LABELS)


def _samples(key: str, members: Iterable[_Member]) -> Iterator[Sample]:
    """The pictures of one group: usually one, but names with dots may put many together."""
    content_of: dict[str, bytes | None] = {}
    picture: _Member | None = None
    num_pictures = 0
    for member in members:
        if member.label_format is not None:
            content_of[member.label_format] = member.content
        elif member.name.suffix.lower() in _PICTURES:
            if picture is not None:  # not held any longer, so that a group may have any length
                yield from _labelled(key, picture, None)
            picture = member
            num_pictures += 1
    label = _label(key, content_of)
    if label is not None and num_pictures > 1:
        raise UsageError(f"data: {key} has one label for {num_pictures} pictures; allowed is one")
    if picture is not None:
        yield from _labelled(key, picture, label)


def _labelled(key: str, picture: _Member, label: Label | None) -> Iterator[Sample]:
    """The sample; none where the picture has no label and lies in no folder."""
    folder = picture.name.parent.name
    if label is None and folder:
        label = Label(folder)
    if label is not None:
        name = str(PurePosixPath(key).with_name(picture.name.stem))
        yield Sample(name, label, EncodedPicture(picture.content))


def _label(key: str, content_of: dict[str, bytes | None]) -> Label | None:
    """The first label that there is.

    Raises:
        UsageError: it is no label.
    """
    for label_format in _LABELS:
        if label_format not in content_of:
            continue
        content = content_of[label_format]
        if content is None:
            raise UsageError(f"data: {key}{label_format} is too long for a label")
        text = content.decode("utf-8", "replace").strip()
        if label_format != ".json":
            return Label(text.lstrip("0") or "0" if text.isdigit() else text)
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"data: {key}.json is not valid JSON") from error
        if isinstance(fields, dict):
            label = Label.of(fields.get("label"), fields.get("label_name"))
            if label is not None:
                return label
    return None
