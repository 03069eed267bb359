"""Opens a data set by its name and by what lies in its folder."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from jobs.datasets.archive import LabelledArchive
from jobs.datasets.base import LabelledSource
from jobs.datasets.drawn import DrawnShapes
from jobs.datasets.labels import (
    LABEL_COLUMNS,
    LABEL_SIDECARS,
    TarLabels,
    column_labels,
    folder_label,
    no_label,
    table_labels,
)
from pipeline.errors import UsageError
from pipeline.sources import open_archive
from pipeline.sources.fetching import ArchiveFetcher
from pipeline.sources.locations import Location, locate
from pipeline.sources.opening import ENDINGS, detect_format, files_of
from pipeline.sources.parquet import ParquetSource
from pipeline.sources.tar import TarSource
from pipeline.storage import Stores

__all__ = ["TRUTH", "open_labelled", "open_pictures"]

TRUTH = "truth.parquet"


def open_labelled(data: str) -> LabelledSource:
    """Opens the labelled data set that `data` names.

    Args:
        data: see the package's docstring.

    Raises:
        UsageError: there is no such data set, or its format has no labels.
    """
    return _drawn(data) or _labelled(data)


def open_pictures(data: str) -> LabelledSource:
    """Any images, whatever their labels: a data set, or what `dvt tag` takes.

    Raises:
        UsageError: there is no such data set or archive.
    """
    drawn = _drawn(data)
    if drawn is not None:
        return drawn
    with _data_errors():
        stores = Stores()
        location = locate(data, stores)
        if _has_truth(location, stores):
            return replace(_truth_folder(location, stores), label_of=no_label)
        archive = open_archive([data])
    return LabelledArchive(archive, archive.fetcher, no_label, has_cheap_labels=False)


def _drawn(data: str) -> DrawnShapes | None:
    named = re.fullmatch(r"shapes:(\d+)(?::(\d+))?", data)
    return None if named is None else DrawnShapes(int(named[1]), int(named[2] or 0))


def _labelled(data: str) -> LabelledArchive:
    with _data_errors():
        stores = Stores()
        location = locate(data, stores)
        if _has_truth(location, stores):
            return _truth_folder(location, stores)
        match _format(location):
            case "webdataset":
                tars = TarSource(files_of(location, "webdataset"), stores, sidecars=LABEL_SIDECARS)
                return LabelledArchive(tars, ArchiveFetcher(), TarLabels(), has_cheap_labels=False)
            case "parquet":
                return _parquet(location, stores)
            case _:
                return LabelledArchive(location.files, ArchiveFetcher(), folder_label)


def _has_truth(location: Location, stores: Stores) -> bool:
    uri = location.folder + TRUTH
    return location.is_folder and stores.of(uri).status(uri) is not None


def _truth_folder(location: Location, stores: Stores) -> LabelledArchive:
    """`truth.parquet` beside `images/`, to which its keys are relative."""
    images = locate(f"{location.folder}images/", stores).files
    label_of = table_labels(stores, location.folder + TRUTH)
    return LabelledArchive(images, ArchiveFetcher(), label_of)


def _parquet(location: Location, stores: Stores) -> LabelledArchive:
    files = files_of(location, "parquet")
    schema = ParquetSource(files, stores).schema
    columns = tuple(name for name in LABEL_COLUMNS if name in schema.names)
    if not columns:
        found = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise UsageError(
            f"data: {location.text} must have a column label or label_name (got {found})"
        )
    source = ParquetSource(files, stores, keep=columns)
    return LabelledArchive(source, ArchiveFetcher(), column_labels(columns))


def _format(location: Location) -> Literal["files", "webdataset", "parquet", "list"]:
    if location.is_folder:
        return detect_format(location)
    names = [file.key.lower() for file in location.files.list_images()]
    for kind in ("webdataset", "parquet"):
        if all(name.endswith(ENDINGS[kind]) for name in names):
            return kind
    allowed = " or all in ".join(", ".join(ENDINGS[kind]) for kind in ("webdataset", "parquet"))
    raise UsageError(
        f"data: must be a folder, shapes:NUM:SEED, or files that all end in {allowed} "
        f"(got {location.text})"
    )


@contextmanager
def _data_errors() -> Iterator[None]:
    """Messages of the engine name the argument of `dvt tag`; here it is called data."""
    try:
        yield
    except UsageError as error:
        message = re.sub(r"^(input|keep-columns): ", "", str(error)).removeprefix("data: ")
        raise UsageError(f"data: {message}") from error
