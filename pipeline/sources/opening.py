"""From INPUT arguments to an archive: what they name, and in which format it is.

An INPUT is a folder, a file, a glob, a range in braces, or one of these on S3. Its format is told
by names alone: .tar, .tar.gz, .tgz, .tar.zst are tars, .parquet is Parquet, .txt and .csv as single
files are lists of URIs, and all else are pictures. A folder is taken for one of tars or Parquet
files if there are such, and no pictures, among the first thousand names in it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Literal

from pipeline.errors import UsageError
from pipeline.records import ImageRecord
from pipeline.sources.archive import Archive, Part
from pipeline.sources.base import Source
from pipeline.sources.fetching import ArchiveFetcher
from pipeline.sources.files import ChosenFiles, NamedFiles
from pipeline.sources.locations import Location, locate
from pipeline.sources.options import InputFormat, SourceOptions
from pipeline.sources.parquet import ParquetSource
from pipeline.sources.patterns import KeyFilter
from pipeline.sources.tar import TarSource
from pipeline.sources.uris import UriList
from pipeline.storage import S3Options, Stores
from pipeline.storage.retry_policy import RetryPolicy

__all__ = ["open_archive"]

_Kind = Literal["files", "webdataset", "parquet", "list"]

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tzst")
_PARQUET = (".parquet", ".pq")
_LISTS = (".txt", ".csv")
_PICTURES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpeg"),
    *(".jpg", ".png", ".tif", ".tiff", ".webp"),
)
_FIRST_NAMES = 1000


def open_archive(
    inputs: Sequence[str],
    options: SourceOptions | None = None,
    output: str | Path | None = None,
    retry_policy: RetryPolicy | None = None,
) -> Archive:
    """The archive that some INPUT arguments name.

    Args:
        inputs: at least one.
        options: how to read them.
        output: a folder to leave out, which may lie inside the archive.
        retry_policy: for requests to S3; None for the default one.

    Raises:
        UsageError: there is no such input, or it cannot be read in this way.
        StorageDeniedError, StorageFailedError: the storage cannot be asked.
    """
    options = options or SourceOptions()
    s3 = S3Options(options.requester_pays, retry_policy or RetryPolicy())
    stores = Stores(s3)
    located = [
        (location, _kind(location, options.input_format))
        for text in inputs
        for location in [locate(text, stores, None if output is None else str(output))]
    ]
    parts = [_part(locations, kind, options, stores) for locations, kind in _joined(located)]
    if options.keep_columns and not any(kind == "parquet" for _, kind in located):
        raise UsageError(
            f"keep-columns: only Parquet files have columns (got {', '.join(inputs)[:200]})"
        )
    return Archive(parts, ArchiveFetcher(s3))


def _kind(location: Location, wanted: InputFormat) -> _Kind:
    if wanted != "auto":
        return wanted
    name = location.text.lower()
    if not location.is_folder:
        if name.endswith(_TARS):
            return "webdataset"
        if name.endswith(_PARQUET):
            return "parquet"
        return "list" if location.is_single and name.endswith(_LISTS) else "files"
    names = [file.key.lower() for file in islice(location.files.list_images(), _FIRST_NAMES)]
    if any(name.endswith(_PICTURES) for name in names):
        return "files"
    # Tars first: img2dataset writes Parquet files of metadata beside them, without pictures.
    if any(name.endswith(_TARS) for name in names):
        return "webdataset"
    return "parquet" if any(name.endswith(_PARQUET) for name in names) else "files"


def _joined(
    located: Sequence[tuple[Location, _Kind]],
) -> Iterator[tuple[list[Location], _Kind]]:
    """Inputs of one kind in one folder are one source, as when a shell has expanded a glob.

    Raises:
        UsageError: such inputs may hold the same files.
    """
    order = sorted(located, key=lambda item: (item[0].folder, item[1]))
    for (folder, kind), group in groupby(order, key=lambda item: (item[0].folder, item[1])):
        locations = [location for location, _ in group]
        if len(locations) > 1 and not all(location.is_single for location in locations):
            names = " and ".join(location.text for location in locations[:2])
            raise UsageError(
                f"input: {names} may hold the same files of {folder}; give one pattern, or let "
                "the shell expand them (no quotes)"
            )
        yield locations, kind


def _part(locations: list[Location], kind: _Kind, options: SourceOptions, stores: Stores) -> Part:
    prefix = "" if kind == "files" else f"{kind}:"
    names = tuple(f"{prefix}{location.name}" for location in locations)
    patterns = KeyFilter(options.include, options.exclude)
    first = locations[0]
    files = first.files
    if len(locations) > 1:
        records = [file for location in locations for file in location.files.list_images()]
        files = NamedFiles(sorted(records, key=lambda file: file.key))
    if first.is_folder and kind == "webdataset":
        files = ChosenFiles(files, _ends(_TARS), "files that are no tars")
    if first.is_folder and kind == "parquet":
        files = ChosenFiles(files, _ends(_PARQUET), "files that are no Parquet files")
    source: Source
    keys_are_free = False
    if kind == "webdataset":
        source = TarSource(files, stores, patterns)
    elif kind == "parquet":
        source = ParquetSource(files, stores, patterns, options.keep_columns)
        keys_are_free = True
    elif kind == "list":
        source = UriList(_only(first, locations), stores, patterns)
        keys_are_free = True
    else:
        source = files if patterns == KeyFilter() else ChosenFiles(files, patterns.takes)
    return Part(source, names, first.folder, keys_are_free)


def _only(first: Location, locations: list[Location]) -> ImageRecord:
    if len(locations) > 1:
        names = " and ".join(location.text for location in locations[:2])
        raise UsageError(f"input: {names} may have the same keys; give them runs of their own")
    return next(first.files.list_images())


def _ends(suffixes: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda key: key.lower().endswith(suffixes) and not key.rpartition("/")[2].startswith("_")
