"""Opens the archive that INPUT arguments name.

An INPUT is a folder, a file, a glob, a range in braces, or one of these on S3. Names determine its
format: .tar, .tar.gz, .zip, ... are tars and zips, .parquet is Parquet, a single .txt, .csv or .tsv
file is a list of URIs, and everything else is a picture. Tars and zips are also read beside
pictures and in lists. A folder holds Parquet files if there are such, but no pictures or tars,
among its first thousand names.
"""

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes

from pipeline.errors import UsageError
from pipeline.file_kinds import PICTURE_ENDINGS, is_picture_name
from pipeline.sources.archive import Archive, InputSource
from pipeline.sources.base import Source
from pipeline.sources.fetching import ArchiveFetcher
from pipeline.sources.files import FilteredFiles, NamedFiles
from pipeline.sources.keys import as_text
from pipeline.sources.locations import Location, locate
from pipeline.sources.options import SourceOptions
from pipeline.sources.parquet import ParquetSource
from pipeline.sources.patterns import Glob, KeyFilter
from pipeline.sources.tar import TarSource
from pipeline.sources.uri_list import UriList
from pipeline.storage import RetryPolicy, S3Options, Stores
from pipeline.units import counted

__all__ = ["ENDINGS", "detect_format", "files_of", "open_archive"]

logger = logging.getLogger(__name__)

_Format = Literal["files", "webdataset", "parquet", "list"]
ENDINGS: dict[_Format, tuple[str, ...]] = {
    "webdataset": (
        *(".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tzst"),
        *(".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip"),
    ),
    "parquet": (".parquet", ".pq"),
    "list": (".txt", ".csv", ".tsv"),
}
_UNREADABLE = (".7z", ".rar", ".tar.lz", ".tar.lz4", ".tar.lzma", ".tar.z", ".cab", ".iso", ".dmg")
_NUM_NAMES = 1000


def open_archive(
    inputs: Sequence[str],
    options: SourceOptions | None = None,
    output: str | Path | None = None,
    retry_policy: RetryPolicy | None = None,
) -> Archive:
    """The archive that some INPUT arguments name.

    Args:
        inputs: at least one.
        options: of the sources.
        output: a folder to skip, which may lie inside the archive.
        retry_policy: for requests to S3; None for the default one.

    Raises:
        UsageError: there is no such input, or it does not have the format.
        StorageDeniedError, StorageFailedError: the storage cannot be listed.
    """
    options = options or SourceOptions()
    s3 = S3Options(options.requester_pays, retry_policy or RetryPolicy())
    stores = Stores(s3)
    excluded = None if output is None else str(output)
    located: list[tuple[Location, _Format]] = []
    for text in inputs:
        location = locate(text, stores, excluded, all_files=options.all_files)
        wanted = options.input_format
        located.append((location, detect_format(location) if wanted == "auto" else wanted))
    if options.keep_columns and all(kind != "parquet" for _, kind in located):
        raise UsageError(
            f"keep-columns: only Parquet files have columns (got {', '.join(inputs)[:200]})"
        )
    _check_overlap(located)
    sources = [_source(group, kind, options, stores) for group, kind in _grouped(located)]
    patterns = KeyFilter(options.include, options.exclude)
    return Archive(sources, ArchiveFetcher(s3), patterns)


def detect_format(location: Location) -> _Format:
    """The format of what an INPUT names, by names alone."""
    if not location.is_folder:
        name = location.text.lower()
        if name.endswith(_UNREADABLE):
            raise UsageError(
                f"input: {location.text} cannot be read; unpack it, or pack it as "
                f"{', '.join(ENDINGS['webdataset'])}"
            )
        kinds = [kind for kind, endings in ENDINGS.items() if name.endswith(endings)]
        return "files" if not kinds or (kinds[0] == "list" and not location.is_single) else kinds[0]
    names = [file.key.lower() for file in islice(location.files.list_images(), _NUM_NAMES)]
    has_pictures = any(is_picture_name(name) for name in names)
    packed = (*_UNREADABLE, *(ENDINGS["parquet"] if has_pictures else ()))
    unread = [name for name in names if name.endswith(packed)]
    if unread:
        logger.warning(
            "%s: not unpacked: %s of the first %d, such as %s; unpack them, or give Parquet "
            "files as INPUTs of their own",
            *(location.text, counted(len(unread), "file"), len(names), unread[0]),
        )
    if has_pictures:
        return "files"
    # Tars first: img2dataset writes Parquet files with metadata, but no pictures, beside them.
    for kind in ("webdataset", "parquet"):
        if any(name.endswith(ENDINGS[kind]) for name in names):
            return kind
    return "files"


def files_of(location: Location, kind: _Format, beside: Collection[str] = ()) -> Source:
    """The files of a location that have a format; of a folder, other files are skipped.

    Args:
        location: of the files.
        kind: their format.
        beside: endings of other files to take.

    Names that begin with `_` are what Spark and Hadoop leave beside the data, unless the argument
    has such a name itself, or the name is of a partition (`_day=1`).
    """
    if kind not in ("webdataset", "parquet") or not (location.is_folder or location.globs):
        return location.files
    endings = (*ENDINGS[kind], *beside) if location.is_folder else ("",)
    takes_all = any(part.startswith("_") for part in location.text.split("/"))

    def accepts(key: str) -> bool:
        parts = () if takes_all else key.split("/")
        is_temporary = any(part.startswith("_") and "=" not in part for part in parts)
        return key.lower().endswith(endings) and not is_temporary

    others = f"other endings than {', '.join(endings)}, or names that begin with _"
    return FilteredFiles(location.files, accepts, others)


def _check_overlap(located: Sequence[tuple[Location, _Format]]) -> None:
    """Raises `UsageError` if an INPUT lies in another one, which would read its files too.

    `_grouped` checks INPUTs of one format in one folder.
    """

    def reader(kind: _Format) -> _Format:
        return "files" if kind == "webdataset" else kind

    outer_in: dict[tuple[str, _Format], list[tuple[Location, _Format]]] = {}
    for location, kind in located:
        if location.is_folder or location.globs:
            outer_in.setdefault((location.folder, reader(kind)), []).append((location, kind))
    for inner, kind in located:
        for slash in re.finditer("/", inner.folder):
            folder, below = inner.folder[: slash.end()], inner.folder[slash.end() :]
            match = Glob.may_match_below if below else Glob.matches
            path = below or inner.name[len(folder) :]
            if folder.startswith("file://"):
                path = as_text(unquote_to_bytes(path))
            for outer, outer_kind in outer_in.get((folder, reader(kind)), ()):
                if not below and outer_kind == kind:
                    continue
                if outer.is_folder or any(match(glob, path) for glob in outer.globs):
                    raise UsageError(
                        f"input: {outer.text} and {inner.text} may hold the same files; give only "
                        "one of them"
                    )


def _grouped(
    located: Sequence[tuple[Location, _Format]],
) -> Iterator[tuple[list[Location], _Format]]:
    """Joins inputs of one format in one folder, such as those of a glob that the shell expanded.

    Raises:
        UsageError: such inputs may hold the same files.
    """

    def place(item: tuple[Location, _Format]) -> tuple[str, _Format]:
        return item[0].folder, item[1]

    for (folder, kind), group in groupby(sorted(located, key=place), key=place):
        locations = [location for location, _ in group]
        if len(locations) > 1 and not all(location.is_single for location in locations):
            names = " and ".join(location.text for location in locations[:2])
            raise UsageError(
                f"input: {names} may hold the same files of {folder}; give one pattern, or let "
                "the shell expand them (no quotes)"
            )
        yield locations, kind


def _source(
    locations: list[Location], kind: _Format, options: SourceOptions, stores: Stores
) -> InputSource:
    first = locations[0]
    is_auto = options.input_format == "auto"
    beside = PICTURE_ENDINGS if kind == "webdataset" and is_auto else ()
    files = files_of(first, kind, beside)
    if len(locations) > 1:
        records = [file for location in locations for file in location.files.list_images()]
        files = NamedFiles(sorted(records, key=lambda file: file.key))
    source = files
    endings: tuple[str, ...] | None = ENDINGS["webdataset"]
    if kind == "webdataset":
        endings = endings if first.is_folder else None
    elif kind == "parquet":
        source = ParquetSource(files, stores, options.keep_columns)
    elif kind == "list":
        if len(locations) > 1:
            texts = " and ".join(location.text for location in locations[:2])
            raise UsageError(f"input: {texts} may have the same keys; tag them in separate runs")
        source = UriList(next(files.list_images()), stores)
    if kind == "webdataset" or (kind != "parquet" and is_auto):
        source = TarSource(source, stores, all_files=options.all_files, endings=endings)
    prefix = "" if kind == "files" else f"{kind}:"
    names = tuple(f"{prefix}{location.name}" for location in locations)
    return InputSource(source, names, first.folder, keys_are_free=kind in ("parquet", "list"))
