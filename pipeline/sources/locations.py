"""What an INPUT argument names: a folder, some files, on this machine or on S3."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from pipeline.errors import StorageDeniedError, UsageError
from pipeline.records import ImageRecord
from pipeline.sources.base import Source
from pipeline.sources.files import NamedFiles
from pipeline.sources.folder import FolderSource
from pipeline.sources.names import as_text
from pipeline.sources.patterns import Glob, expand_braces, is_glob
from pipeline.sources.s3_listing import S3Prefix
from pipeline.storage import Stores
from pipeline.storage.local_files import file_uri
from pipeline.storage.s3_connection import NUM_CONNECTIONS, split_uri

__all__ = ["Location", "locate"]

_ALLOWED = (
    "allowed are folders, files, globs, ranges such as {000..012}, and these on s3://bucket/prefix"
)


@dataclass(frozen=True, slots=True)
class Location:
    """What an INPUT argument names.

    Attributes:
        text: as it was given.
        name: the same on every run.
        folder: that keys are relative to, as a URI.
        files: all that it names; their keys are paths below the folder.
        is_folder: it names a folder, not files.
        is_single: it names one file.
    """

    text: str
    name: str
    folder: str
    files: Source
    is_folder: bool = False
    is_single: bool = False


def locate(text: str, stores: Stores, output: str | None) -> Location:
    """Finds what an INPUT argument names.

    Args:
        text: the argument.
        stores: where files lie.
        output: path or URI of a folder to leave out.

    Raises:
        UsageError: there is nothing of that name.
        StorageDeniedError, StorageFailedError: the storage cannot be asked.
    """
    try:
        if text.startswith("s3://"):
            return _on_s3(text, stores, output if (output or "").startswith("s3://") else None)
        if text.startswith("file://"):
            return _local(unquote(urlsplit(text).path), stores, output)
        if "://" in text:
            raise UsageError(f"{text.partition('://')[0]}:// cannot be read; {_ALLOWED}")
        return _local(text, stores, output)
    except UsageError as error:
        raise UsageError("input: " + str(error).removeprefix("input: ")) from error


def _local(text: str, stores: Stores, output: str | None) -> Location:
    excluded = None if output is None or "://" in output else Path(output)
    path = Path(text).expanduser()
    try:
        is_there = path.exists()
    except (OSError, ValueError) as error:  # a name too long, or with a NUL
        raise UsageError(f"no such folder or file: {text[:200]!r} ({error})") from error
    if is_there and path.is_dir():
        source = FolderSource.open(text, excluded)
        uri = file_uri(os.fsencode(source.root))
        return Location(text, uri, _shown(source.root), source, is_folder=True)
    if is_there:
        # The folder may be a link, the file's own name counts: it is the key.
        return _single(text, file_uri(os.fsencode(path.parent.resolve() / path.name)), stores)
    absolute = os.fspath(path.absolute())
    names = expand_braces(absolute)
    is_range = names != [absolute]  # {000..000} is one too
    if is_range and not is_glob(text):
        return _named(text, absolute, [file_uri(os.fsencode(name)) for name in names], stores)
    if is_glob(text) and not is_range:
        glob = Glob.of(absolute)
        if Path(glob.folder).is_dir():
            source = FolderSource.open(glob.folder, excluded, (glob,))
            return _if_any(
                Location(
                    text,
                    f"{file_uri(os.fsencode(source.root))}/{'/'.join(glob.parts)}",
                    _shown(source.root),
                    source,
                )
            )
    if is_glob(text) and is_range:
        raise UsageError(f"a range and wildcards cannot stand together (got {text})")
    raise UsageError(f"no such folder or file: {text}; {_ALLOWED}")


def _on_s3(text: str, stores: Stores, output: str | None) -> Location:
    bucket, key = split_uri(text)
    if not key or key.endswith("/"):
        folder = f"s3://{bucket}/{key}"
        source = S3Prefix(stores.s3.connection, folder, exclude=output)
        return Location(text, folder, folder, source, is_folder=True)
    names = expand_braces(text)
    if names != [text]:
        if is_glob(text):
            raise UsageError(f"a range and wildcards cannot stand together (got {text})")
        return _named(text, text, names, stores)
    if _is_object(text, stores):
        return _single(text, text, stores)
    if is_glob(key):
        glob = Glob.of(text)
        source = S3Prefix(stores.s3.connection, glob.folder, (glob,), output)
        return _if_any(Location(text, text, glob.folder, source))
    source = S3Prefix(stores.s3.connection, f"{text}/", exclude=output)
    if next(source.list_images(), None) is None:
        raise UsageError(
            f"no objects below {text}/ (for keys that merely begin so, give a glob: {text}*)"
        )
    return Location(text, f"{text}/", f"{text}/", source, is_folder=True)


def _is_object(uri: str, stores: Stores) -> bool:
    """Whether there is an object of exactly that name, as far as one may know."""
    try:
        return stores.s3.status(uri) is not None
    except StorageDeniedError:
        return False  # who may only list this folder is refused here; the listing tells the rest


def _single(text: str, uri: str, stores: Stores) -> Location:
    files = _files([uri], stores)
    return Location(text, uri, uri.rpartition("/")[0] + "/", NamedFiles(files), is_single=True)


def _named(text: str, name: str, uris: list[str], stores: Stores) -> Location:
    """The files of a range."""
    folder = name.partition("{")[0].rpartition("/")[0] + "/"
    if not name.startswith("s3://"):
        folder, name = file_uri(os.fsencode(folder)), f"file://{name}"
    return Location(text, name, folder, NamedFiles(_files(uris, stores, len(folder))))


def _files(
    uris: Sequence[str], stores: Stores, base_length: int | None = None
) -> list[ImageRecord]:
    """Records of named files, all of which must be there."""
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        found = list(pool.map(lambda uri: stores.of(uri).status(uri), uris))
    records = []
    for uri, status in zip(uris, found, strict=True):
        path = uri[base_length:] if base_length else uri.rpartition("/")[2]
        if not uri.startswith("s3://"):
            path = as_text(unquote_to_bytes(path))
        if status is None:
            raise UsageError(f"no such file: {uri}")
        records.append(ImageRecord(path, uri, status.size_bytes, status.etag))
    return records


def _if_any(location: Location) -> Location:
    if next(location.files.list_images(), None) is None:
        raise UsageError(f"nothing matches {location.text}")
    return location


def _shown(folder: Path) -> str:
    return file_uri(os.fsencode(folder)) + "/"
