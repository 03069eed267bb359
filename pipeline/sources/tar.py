"""Tars in WebDataset's layout: every picture in them is an image, listed from the headers alone.

Members that follow each other and agree up to the first dot of their name belong together. What
WebDataset puts beside a picture (.json, .cls, .txt, ...) is left out where there is a picture
beside it, and counts as an image where there is none, as any file in a folder does. Hidden files
are left out. Links, devices and the rest of a damaged tar are listed as what can never be read.
Source: the WebDataset format (github.com/webdataset/webdataset), as img2dataset writes it too.
"""

import logging
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from posixpath import splitext
from typing import BinaryIO, cast

from pipeline.errors import ImageError, Reason, StorageDeniedError, StorageFailedError
from pipeline.records import ImageRecord, TarMember, Unreadable
from pipeline.sources.base import NOTHING_KEPT, Source
from pipeline.sources.names import SeenKeys, as_text, is_hidden, safe_path
from pipeline.sources.patterns import KeyFilter
from pipeline.sources.prefetch import in_pages, pages_in_order
from pipeline.sources.tar_entries import (
    DAMAGE,
    Compression,
    ForwardStream,
    compression_of,
    damaged,
    entries,
)
from pipeline.storage import Stores

__all__ = ["TarSource"]

logger = logging.getLogger(__name__)

_BESIDE = {
    *(".caption", ".cls", ".cls2", ".csv", ".html", ".id", ".inx", ".json", ".jsonl", ".md"),
    *(".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".pyd", ".ten", ".tsv", ".txt", ".xml"),
    *(".yaml", ".yml"),
}
_MOST_BESIDE = 1000
_RECORDS_A_PAGE = 1024
_NUM_AHEAD = 7
_OTHER_KINDS = {
    tarfile.SYMTYPE: "is a link in the tar",
    tarfile.LNKTYPE: "is a link in the tar",
    tarfile.CHRTYPE: "is a device in the tar",
    tarfile.BLKTYPE: "is a device in the tar",
    tarfile.FIFOTYPE: "is a pipe in the tar",
}


class TarSource:
    """The pictures in some tars, several of which are read at once.

    Args:
        files: the tars.
        stores: that hold them.
        patterns: which pictures, by the key or the key with the member's own ending.
    """

    kept = NOTHING_KEPT

    def __init__(self, files: Source, stores: Stores, patterns: KeyFilter) -> None:
        self._files = files
        self._stores = stores
        self._patterns = patterns

    def list_images(self) -> Iterator[ImageRecord]:
        """All images, tar by tar, in the order that they have in it; keys are TAR/member's stem."""
        pages = (
            partial(in_pages, self._pictures(tar), _RECORDS_A_PAGE)
            for tar in self._files.list_images()
        )
        for page in pages_in_order(pages, _NUM_AHEAD):
            yield from page

    def count_images(self) -> None:
        """Only reading all headers would tell."""

    def _pictures(self, tar: ImageRecord) -> Iterator[ImageRecord]:
        seen = SeenKeys()
        groups = groupby(self._members(tar), key=lambda member: member.stem)
        for member in (member for _, group in groups for member in _without_sidecars(group)):
            path = safe_path(member.name)
            candidates = [f"{tar.key}/{splitext(path)[0]}", f"{tar.key}/{path}"]
            # A tar may hold a name again and again; the position in it tells them apart.
            key = seen.first_new([*candidates, f"{tar.key}/{path}~{member.position}"])
            if self._patterns.takes(key) or self._patterns.takes(candidates[1]):
                uri = f"{tar.uri}#{member.name}" if member.name else tar.uri
                yield ImageRecord(key, uri, member.size_bytes, tar.etag, member.part)

    def _members(self, tar: ImageRecord) -> Iterator["_Member"]:
        """All members, and the damage if there is some."""
        position = 0
        try:
            with self._stores.of(tar.uri).open(tar.uri, tar.etag) as packed:
                compression = compression_of(packed)
                for entry in entries(_unpacked(packed, compression)):
                    name = as_text(entry.name.encode("utf-8", "surrogateescape"))
                    if not entry.isdir() and not is_hidden(safe_path(name)):
                        yield _member(tar.uri, name, entry, compression)
                    position = entry.offset_data + entry.size
            return
        except (StorageDeniedError, StorageFailedError):
            raise
        except ImageError as error:
            failure = ImageError(error.reason, f"the tar cannot be read: {error.detail}")
        except DAMAGE as error:
            failure = damaged(error, f"the tar cannot be read on behind byte {position:,}")
        # What follows in it is unknown, so it must not pass in silence: a dead letter will tell.
        logger.warning("%s: %s", tar.uri, failure.detail)
        yield _Member("", 0, position, Unreadable(tar.uri, failure.reason, failure.detail))


@dataclass(frozen=True, slots=True)
class _Member:
    """Something in a tar; `position` is that of its header."""

    name: str
    size_bytes: int
    position: int
    part: TarMember | Unreadable

    @property
    def stem(self) -> str:
        """What the files of one sample share: the path up to the first dot of its last part."""
        folder, slash, name = self.name.rpartition("/")
        return folder + slash + name.partition(".")[0]

    @property
    def is_beside(self) -> bool:
        """Whether by its name it is something that stands beside a picture."""
        return splitext(self.name)[1].lower() in _BESIDE


def _unpacked(packed: BinaryIO, compression: Compression | None) -> BinaryIO:
    return packed if compression is None else cast(BinaryIO, ForwardStream(packed, compression))


def _member(
    tar_uri: str, name: str, entry: tarfile.TarInfo, compression: Compression | None
) -> _Member:
    part: TarMember | Unreadable = TarMember(tar_uri, entry.offset_data, compression)
    if entry.type in _OTHER_KINDS:
        part = Unreadable(tar_uri, Reason.FETCH_FAILED, _OTHER_KINDS[entry.type])
    elif entry.issparse():
        part = Unreadable(tar_uri, Reason.FETCH_FAILED, "is stored with holes (sparse) in the tar")
    return _Member(name, entry.size if entry.isreg() else 0, entry.offset, part)


def _without_sidecars(group: Iterator[_Member]) -> Iterator[_Member]:
    """The pictures of one sample; or all that there is, if there is no picture.

    Groups may be of any length, so little is held of one.
    """
    waiting: list[_Member] = []
    has_picture = False
    for member in group:
        if not member.is_beside:
            has_picture = True
            waiting.clear()
            yield member
        elif not has_picture:
            waiting.append(member)
            if len(waiting) > _MOST_BESIDE:
                yield waiting.pop(0)
    yield from waiting
