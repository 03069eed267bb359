"""Finds the files that an INPUT argument names, on this machine or on S3."""

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
from pipeline.sources.keys import as_text
from pipeline.sources.patterns import Glob, expand_braces, fixed_folder, is_glob
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
        text: the argument.
        name: its canonical form, the same on every run.
        folder: URI that keys are relative to, with a slash at its end.
        files: all files that it names; keys are paths below the folder.
        is_folder: it names a folder rather than files.
        is_single: it names one file.
    """

    text: str
    name: str
    folder: str
    files: Source
    is_folder: bool = False
    is_single: bool = False


def locate(text: str, stores: Stores, output: str | None = None) -> Location:
    """Finds the files that an INPUT argument names.

    Args:
        text: the argument.
        stores: to look into.
        output: path or URI of a folder to skip.

    Raises:
        UsageError: there are no such files.
        StorageDeniedError, StorageFailedError: the storage cannot be listed.
    """
    is_s3_output = (output or "").startswith("s3://")
    try:
        if text.startswith("s3://"):
            return _locate_on_s3(text, stores, output if is_s3_output else None)
        if text.startswith("file://"):
            text = unquote(urlsplit(text).path)
        elif "://" in text:
            raise UsageError(f"{text.partition('://')[0]}:// cannot be read; {_ALLOWED}")
        return _locate_locally(text, stores, None if is_s3_output or not output else Path(output))
    except UsageError as error:
        raise UsageError("input: " + str(error).removeprefix("input: ")) from error


def _locate_locally(text: str, stores: Stores, output: Path | None) -> Location:
    path = Path(text).expanduser()
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL byte
        raise UsageError(f"no such folder or file: {text[:200]!r} ({error})") from error
    if is_folder:
        source = FolderSource(text, output)
        uri = file_uri(os.fsencode(source.root))
        return Location(text, uri, f"{uri}/", source, is_folder=True)
    if exists:
        # Resolves links in the folder but not the file itself, since its name becomes the key.
        return _single_file(text, file_uri(os.fsencode(path.parent.resolve() / path.name)), stores)
    pattern = os.fspath(path.absolute())
    names = expand_braces(pattern)
    folder = fixed_folder(pattern)
    if is_glob(text):
        if not Path(folder).is_dir():
            raise UsageError(f"no such folder or file: {text}; {_ALLOWED}")
        globs = tuple(Glob.below(folder, name) for name in names)
        source = FolderSource(folder, output, globs)
        uri = file_uri(os.fsencode(source.root))
        name = f"{uri}/{'/'.join(Glob.below(folder, pattern).parts)}"
        return _checked(Location(text, name, f"{uri}/", source))
    if names == [pattern]:
        raise UsageError(f"no such folder or file: {text}; {_ALLOWED}")
    uris = [file_uri(os.fsencode(name)) for name in names]
    folder = file_uri(os.fsencode(folder))
    return Location(text, f"file://{pattern}", folder, _named_files(uris, stores, len(folder)))


def _locate_on_s3(text: str, stores: Stores, output: str | None) -> Location:
    connection = stores.s3.connection
    bucket, key = split_uri(text)
    if not key or key.endswith("/"):
        folder = f"s3://{bucket}/{key}"
        source = S3Prefix(connection, folder, exclude=output)
        return Location(text, folder, folder, source, is_folder=True)
    if _is_object(text, stores):
        return _single_file(text, text, stores)
    names = expand_braces(text)
    folder = fixed_folder(text)
    if is_glob(key):
        globs = tuple(Glob.below(folder, name) for name in names)
        return _checked(Location(text, text, folder, S3Prefix(connection, folder, globs, output)))
    if names != [text]:
        return Location(text, text, folder, _named_files(names, stores, len(folder)))
    source = S3Prefix(connection, f"{text}/", exclude=output)
    if next(source.list_images(), None) is None:
        raise UsageError(
            f"no objects below {text}/ (for keys that merely start with it, use a glob: {text}*)"
        )
    return Location(text, f"{text}/", f"{text}/", source, is_folder=True)


def _is_object(uri: str, stores: Stores) -> bool:
    """Whether there is an object of exactly that name, as far as the caller may know."""
    try:
        return stores.s3.status(uri) is not None
    except StorageDeniedError:
        return False  # HEAD is denied where only listing is allowed; the listing will show


def _single_file(text: str, uri: str, stores: Stores) -> Location:
    folder = uri.rpartition("/")[0] + "/"
    files = _named_files([uri], stores, len(folder))
    return Location(text, uri, folder, files, is_single=True)


def _named_files(uris: Sequence[str], stores: Stores, folder_length: int) -> NamedFiles:
    """Files, all of which must exist; their keys are what follows the folder in their URIs."""
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        statuses = list(pool.map(lambda uri: stores.of(uri).status(uri), uris))
    files = []
    for uri, status in zip(uris, statuses, strict=True):
        key = uri[folder_length:]
        if not uri.startswith("s3://"):
            key = as_text(unquote_to_bytes(key))
        if status is None:
            raise UsageError(f"no such file: {uri}")
        files.append(ImageRecord(key, uri, status.size_bytes, status.etag))
    return NamedFiles(files)


def _checked(location: Location) -> Location:
    if next(location.files.list_images(), None) is None:
        raise UsageError(f"nothing matches {location.text}")
    return location
