"""Tars in WebDataset's layout, and zips, listed from their headers.

Consecutive members that agree up to the first dot of their name are one sample: a picture and its
sidecars (.json, .cls, .txt, ...). A sidecar counts as an image only if its sample has no picture.
Hidden files are skipped. Links, devices and the rest of a damaged tar are listed as unreadable.
Source: the WebDataset format (github.com/webdataset/webdataset), as img2dataset writes it too.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from posixpath import splitext
from typing import BinaryIO, cast

import pyarrow as pa

from pipeline.errors import PipelineError, Reason
from pipeline.records import ImageRecord, TarMember, Unreadable, ZipMember
from pipeline.sources.base import Source
from pipeline.sources.damage import DAMAGE_ERRORS, unreadable_rest
from pipeline.sources.keys import as_text, safe_path
from pipeline.sources.left_out import LeftOut
from pipeline.sources.read_ahead import concatenate
from pipeline.sources.tar_entries import Compression, ForwardStream, compression_of, entries
from pipeline.sources.zip_entries import is_zip, read_member, zip_entries
from pipeline.storage import Stores

__all__ = ["MAX_SIDECAR_BYTES", "TarSource", "member_stem"]

MAX_SIDECAR_BYTES = 2**20

_SIDECARS = {
    *(".caption", ".cls", ".cls2", ".csv", ".html", ".id", ".inx", ".json", ".jsonl", ".md"),
    *(".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".pyd", ".ten", ".tsv", ".txt", ".xml"),
    *(".yaml", ".yml"),
}
_MAX_HELD = 1000
_TARS_AHEAD = 7
_UNREADABLE_TYPES = {
    tarfile.SYMTYPE: "is a link in the tar",
    tarfile.LNKTYPE: "is a link in the tar",
    tarfile.CHRTYPE: "is a device in the tar",
    tarfile.BLKTYPE: "is a device in the tar",
    tarfile.FIFOTYPE: "is a pipe in the tar",
}


class TarSource(Source):
    """The pictures in tars and zips, and files beside them; keys are TAR/member without its ending.

    Args:
        files: the tars, and what lies beside them.
        stores: that hold them.
        sidecars: endings of sidecars whose contents, at most `MAX_SIDECAR_BYTES` + 1 bytes each,
            are the `kept` values of each picture of the sample; null if there is none.
        all_files: leave nothing out.
        endings: of tars, in lower case; other files are images themselves. None if all are tars.
    """

    def __init__(
        self,
        files: Source,
        stores: Stores,
        sidecars: tuple[str, ...] = (),
        *,
        all_files: bool = False,
        endings: tuple[str, ...] | None = None,
    ) -> None:
        self.is_cheap_to_list = endings is not None and files.is_cheap_to_list
        self._files = files
        self._stores = stores
        self._endings = ("",) if endings is None else endings
        self._sidecars = sidecars
        self._left_out = LeftOut(all_files)
        self.kept = pa.schema([(ending, pa.binary()) for ending in sidecars])

    def list_images(self) -> Iterator[ImageRecord]:
        """See `Source.list_images`; tar by tar, in the order of their members."""
        self._left_out.start()
        for is_tar, files in groupby(self._files.list_images(), self._is_tar):
            if is_tar:
                files = concatenate(map(self._pictures, files), _TARS_AHEAD)
            yield from files
        self._left_out.log("tars and zips")

    def _is_tar(self, file: ImageRecord) -> bool:
        return file.uri.lower().endswith(self._endings)

    def _pictures(self, tar: ImageRecord) -> Iterator[ImageRecord]:
        for _, sample in groupby(self._members(tar), key=lambda member: member_stem(member.name)):
            for member, kept in self._images_of(sample):
                path = f"{tar.key}/{safe_path(member.name)}"
                # A tar may hold a name several times; the position tells them apart.
                others = (path, f"{path}~{member.position}")
                uri = f"{tar.uri}#{member.name}" if member.name else tar.uri
                key, size_bytes = splitext(path)[0], member.size_bytes
                yield ImageRecord(key, uri, size_bytes, tar.etag, member.part, kept, others)

    def _images_of(
        self, sample: Iterator["_Member"]
    ) -> Iterator[tuple["_Member", tuple[bytes | None, ...]]]:
        """The pictures of one sample, or its sidecars if it has no picture.

        A sample may have any number of members: with dots in their names, all pictures of a tar
        may be one. So at most `_MAX_HELD` pictures wait for their sidecars.
        """
        pictures: list[_Member] = []
        sidecars: list[_Member] = []
        contents: dict[str, bytes] = {}
        has_picture = False
        for member in sample:
            if member.content is not None:
                contents[member.ending] = member.content
            if not member.is_sidecar:
                has_picture = True
                pictures.append(member)
            elif not has_picture:
                sidecars.append(member)
            held = pictures if has_picture else sidecars
            if len(held) > _MAX_HELD:
                yield held.pop(0), (None,) * len(self._sidecars)
        kept = tuple(contents.get(ending) for ending in self._sidecars)
        yield from ((member, kept) for member in (pictures if has_picture else sidecars))

    def _members(self, tar: ImageRecord) -> Iterator["_Member"]:
        """All members, and one more for the damage, if any."""
        position = 0
        try:
            with self._stores.of(tar.uri).open(tar.uri, tar.etag) as packed:
                if is_zip(packed):
                    yield from self._zip_members(tar.uri, packed)
                    return
                compression = compression_of(packed)
                stream = packed
                if compression is not None:
                    stream = cast(BinaryIO, ForwardStream(packed, compression))
                for entry in entries(stream):
                    name = as_text(entry.name.encode("utf-8", "surrogateescape"))
                    if not entry.isdir() and not self._left_out.hides(safe_path(name)):
                        yield self._member(tar.uri, name, entry, compression, stream)
                    position = entry.offset_data + entry.size
        except (PipelineError, *DAMAGE_ERRORS) as error:
            yield _Member("", 0, position, unreadable_rest(error, tar, f"byte {position:,}"))

    def _zip_members(self, uri: str, stream: BinaryIO) -> Iterator["_Member"]:
        for info, part in zip_entries(stream, uri):
            if self._left_out.hides(safe_path(info.filename)):
                continue
            member = _Member(info.filename, info.file_size, info.header_offset, part)
            is_kept = self._sidecars and member.ending in self._sidecars
            if is_kept and isinstance(part, ZipMember):
                store, size_bytes = self._stores.of(uri), info.file_size
                content = read_member(store, part, None, size_bytes, MAX_SIDECAR_BYTES + 1)
                member = replace(member, content=content)
            yield member

    def _member(
        self,
        tar_uri: str,
        name: str,
        entry: tarfile.TarInfo,
        compression: Compression | None,
        stream: BinaryIO,
    ) -> "_Member":
        part: TarMember | Unreadable = TarMember(tar_uri, entry.offset_data, compression)
        if entry.type in _UNREADABLE_TYPES:
            part = Unreadable(tar_uri, Reason.FETCH_FAILED, _UNREADABLE_TYPES[entry.type])
        elif entry.issparse():
            part = Unreadable(tar_uri, Reason.FETCH_FAILED, "is a sparse file in the tar")
        member = _Member(name, entry.size if entry.isreg() else 0, entry.offset, part)
        is_kept = self._sidecars and member.ending in self._sidecars
        if not is_kept or isinstance(part, Unreadable):
            return member
        stream.seek(entry.offset_data)
        return replace(member, content=stream.read(min(entry.size, MAX_SIDECAR_BYTES + 1)))


def member_stem(name: str) -> str:
    """What the members of one sample share: the path up to the first dot of its last component."""
    folder, slash, file_name = name.rpartition("/")
    return folder + slash + file_name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of a tar.

    Attributes:
        position: of its header.
        content: of a sidecar that is kept.
    """

    name: str
    size_bytes: int
    position: int
    part: TarMember | ZipMember | Unreadable
    content: bytes | None = None

    @property
    def ending(self) -> str:
        """The part of the name behind the stem, in lower case."""
        return self.name.removeprefix(member_stem(self.name)).lower()

    @property
    def is_sidecar(self) -> bool:
        """Whether its last ending is one of those that stand beside a picture."""
        return splitext(self.name)[1].lower() in _SIDECARS
