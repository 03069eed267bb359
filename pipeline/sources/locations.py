"""Finds the files that an INPUT argument names, on this machine or on S3."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline.errors import StorageDeniedError, UsageError
from pipeline.sources.base import Source
from pipeline.sources.delta_files import DELTA_LOG, delta_files
from pipeline.sources.files import named_files
from pipeline.sources.folder import FolderSource
from pipeline.sources.keys import as_text
from pipeline.sources.patterns import Glob, expand_braces, fixed_folder, is_glob
from pipeline.sources.s3_listing import S3Prefix
from pipeline.storage import Stores
from pipeline.storage.local_files import file_uri
from pipeline.storage.s3_connection import split_uri

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
        globs: that the files match; empty if it is no glob.
        is_folder: it names a folder rather than files.
        is_single: it names one file.
    """

    text: str
    name: str
    folder: str
    files: Source
    globs: tuple[Glob, ...] = ()
    is_folder: bool = False
    is_single: bool = False


def locate(
    text: str, stores: Stores, output: str | None = None, *, all_files: bool = False
) -> Location:
    """Finds the files that an INPUT argument names.

    Args:
        text: the argument.
        stores: to look into.
        output: path or URI of a folder to skip.
        all_files: leave no hidden files, caches and recycle bins out.

    Raises:
        UsageError: there are no such files.
        StorageDeniedError, StorageFailedError: the storage cannot be listed.
    """
    is_s3_output = (output or "").startswith("s3://")
    try:
        if text.startswith("s3://"):
            return _locate_on_s3(text, stores, output if is_s3_output else None, all_files)
        if text.startswith("file://"):
            text = os.fsdecode(unquote_to_bytes(urlsplit(text).path))
        elif "://" in text:
            raise UsageError(f"{text.partition('://')[0]}:// cannot be read; {_ALLOWED}")
        folder = None if is_s3_output or not output else Path(output).expanduser()
        return _locate_locally(text, stores, folder, all_files)
    except UsageError as error:
        raise UsageError("input: " + str(error).removeprefix("input: ")) from error


def _locate_locally(text: str, stores: Stores, output: Path | None, all_files: bool) -> Location:
    path = Path(text).expanduser()
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL byte
        raise UsageError(f"no such folder or file: {text[:200]!r} ({error})") from error
    if is_folder:
        source: Source = (folder := FolderSource(text, output, all_files=all_files))
        uri = file_uri(os.fsencode(folder.root))
        if (folder.root / DELTA_LOG).is_dir():
            source = delta_files(uri, stores)
        return Location(text, uri, f"{uri}/", source, is_folder=True)
    if exists:
        # Resolves links in the folder but not the file itself, since its name becomes the key.
        return _single_file(text, file_uri(os.fsencode(path.parent.resolve() / path.name)), stores)
    pattern = os.fspath(path.absolute())
    root = fixed_folder(pattern, os.path.isdir)
    rest = pattern[len(root) :]
    names = expand_braces(rest)
    if not Path(root).is_dir() or (names == [rest] and not is_glob(rest)):
        raise UsageError(f"no such folder or file: {text}; {_ALLOWED}")
    if is_glob(rest):
        globs = tuple(map(Glob.of, names))
        folder = FolderSource(root, output, globs, all_files=all_files)
        uri = file_uri(os.fsencode(folder.root))
        name = f"{uri}/{as_text(os.fsencode('/'.join(Glob.of(rest).parts)))}"
        return _checked(Location(text, name, f"{uri}/", folder, globs))
    uri = file_uri(os.fsencode(root))
    uris = [uri + file_uri(os.fsencode(name)).removeprefix("file://") for name in names]
    name = f"file://{as_text(os.fsencode(pattern))}"
    return Location(text, name, uri, named_files(uris, stores, len(uri)))


def _locate_on_s3(text: str, stores: Stores, output: str | None, all_files: bool) -> Location:
    def below(folder: str, globs: tuple[Glob, ...] = ()) -> S3Prefix:
        return S3Prefix(stores.s3.connection, folder, globs, output, all_files=all_files)

    def is_folder(folder: str) -> bool:
        return next(below(f"{folder}/").list_images(), None) is not None

    bucket, key = split_uri(text)
    folder = f"s3://{bucket}/{key}"
    if not key or key.endswith("/"):
        return _folder_on_s3(text, folder, below(folder), stores)
    if _is_object(text, stores):
        return _single_file(text, text, stores)
    if is_folder(text):
        return _folder_on_s3(text, f"{text}/", below(f"{text}/"), stores)
    folder = fixed_folder(text, is_folder)
    rest = text[len(folder) :]
    names = expand_braces(rest)
    if is_glob(rest):
        globs = tuple(map(Glob.of, names))
        return _checked(Location(text, text, folder, below(folder, globs), globs))
    if names != [rest]:
        uris = [folder + name for name in names]
        return Location(text, text, folder, named_files(uris, stores, len(folder)))
    raise UsageError(
        f"no objects below {text}/ (for keys that merely start with it, use a glob: {text}*)"
    )


def _folder_on_s3(text: str, folder: str, source: Source, stores: Stores) -> Location:
    log = S3Prefix(stores.s3.connection, f"{folder}{DELTA_LOG}/")
    if next(log.list_images(), None) is not None:
        source = delta_files(folder, stores)
    return Location(text, folder, folder, source, is_folder=True)


def _is_object(uri: str, stores: Stores) -> bool:
    """Whether there is an object of exactly that name, as far as the caller may know."""
    try:
        return stores.s3.status(uri) is not None
    except StorageDeniedError:
        return False  # HEAD is denied where only listing is allowed; the listing will show


def _single_file(text: str, uri: str, stores: Stores) -> Location:
    folder = uri.rpartition("/")[0] + "/"
    files = named_files([uri], stores, len(folder))
    return Location(text, uri, folder, files, is_single=True)


def _checked(location: Location) -> Location:
    if next(location.files.list_images(), None) is None:
        raise UsageError(
            f"nothing matches {location.text}; a wildcard that is part of a name is written [[], "
            "[*] or [?]"
        )
    return location
