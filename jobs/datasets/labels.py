"""Where the label of an image comes from: its folder, a table, a column, or a sidecar in a tar."""

import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.datasets.base import Label
from pipeline.errors import ImageError, UsageError
from pipeline.file_kinds import is_picture_name
from pipeline.records import ImageRecord
from pipeline.sources.keys import safe_path
from pipeline.sources.tar import MAX_SIDECAR_BYTES, member_stem
from pipeline.storage import Stores

__all__ = [
    "LABEL_COLUMNS",
    "LABEL_SIDECARS",
    "LabelOf",
    "TarLabels",
    "column_labels",
    "folder_label",
    "no_label",
    "table_labels",
]

LABEL_COLUMNS = ("label", "label_name")
LABEL_SIDECARS = (".cls", ".json", ".txt")
"""In the order in which they are searched."""

LabelOf = Callable[[ImageRecord], Label | None]

_NO_LABEL = Label("")


def no_label(image: ImageRecord) -> Label:
    """For data whose labels are ignored."""
    return _NO_LABEL


def folder_label(image: ImageRecord) -> Label | None:
    """The first folder of the key: CLASS/anything/below.jpg."""
    folder, slash, _ = image.key.partition("/")
    return Label(folder) if slash else None


def table_labels(stores: Stores, uri: str) -> LabelOf:
    """From a Parquet file with the columns `key` and `label`; rows with null labels are skipped.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        with stores.of(uri).open(uri, None) as stream:
            table = pq.read_table(stream, columns=["key", "label"])
    except (pa.ArrowException, ImageError, OSError) as error:
        raise UsageError(f"data: cannot read {uri}: {error}") from error
    rows = zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True)
    label_of_key = {key: Label(str(label)) for key, label in rows if label is not None}
    return lambda image: label_of_key.get(image.key)


def column_labels(columns: tuple[str, ...]) -> LabelOf:
    """From `LABEL_COLUMNS` that are passed through with the images, in that order."""

    def label_of(image: ImageRecord) -> Label | None:
        values = dict(zip(columns, image.kept, strict=True))
        return Label.of(values.get("label"), values.get("label_name"))

    return label_of


class TarLabels:
    """From the sidecars of a tar, which are passed through, or else from the member's folder.

    `.cls` has a class id or name, `.json` the fields `label` and `label_name`, `.txt` a class name.
    Called with the images of a tar in order.
    """

    def __init__(self) -> None:
        self._sample = ""
        self._has_sidecar = False

    def __call__(self, image: ImageRecord) -> Label | None:
        """The label; None for members that are no pictures, or have no label.

        Raises:
            UsageError: a sidecar has no valid label, or stands beside several pictures.
        """
        assert image.part is not None
        name = image.uri.removeprefix(f"{image.part.file}#")
        if not is_picture_name(name):
            return None
        sample = f"{image.part.file}#{member_stem(name)}"
        label = _sidecar_label(sample, image.kept)
        if sample == self._sample and (label is not None or self._has_sidecar):
            raise UsageError(
                f"data: {sample} has one label but several pictures; must have exactly one"
            )
        self._sample, self._has_sidecar = sample, label is not None
        if label is not None:
            return label
        folder = safe_path(name).rpartition("/")[0].rpartition("/")[2]
        return Label(folder) if folder not in ("", "%2E%2E") else None


def _sidecar_label(sample: str, contents: tuple[bytes | None, ...]) -> Label | None:
    """The first label in the contents of `LABEL_SIDECARS`."""
    for ending, content in zip(LABEL_SIDECARS, contents, strict=True):
        if content is None:
            continue
        if len(content) > MAX_SIDECAR_BYTES:
            raise UsageError(f"data: {sample}{ending} is too long for a label")
        text = content.decode("utf-8", "replace").strip()
        if ending != ".json":
            return Label(text.lstrip("0") or "0" if text.isdigit() else text)
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"data: {sample}.json is not valid JSON") from error
        if isinstance(fields, dict):
            label = Label.of(fields.get("label"), fields.get("label_name"))
            if label is not None:
                return label
    return None
