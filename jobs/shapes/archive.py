"""Writes an archive of real files with the truth about each.

Layout: `images/NNN/NNNNNNN.jpg|png|webp`, a thousand files a folder; `shapes.json`, the settings,
written first; `truth.parquet`, written last, so that its existence means completion. An interrupted
call is continued by the same call; other settings on the same folder are refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.shapes.factors import FACTOR_NAMES
from jobs.shapes.files import ArchiveSettings, FileTruth, write_files
from jobs.shapes.workers import in_chunks

__all__ = ["WrittenArchive", "write_shapes"]

_CHUNK = 100

_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("label_id", pa.int32()),
        pa.field("difficulty", pa.float32()),
        *(pa.field(name, pa.float32()) for name in FACTOR_NAMES),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("damage", pa.string()),
        pa.field("expected_reason", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class WrittenArchive:
    """Where an archive lies and what it holds.

    Attributes:
        images: Folder of the files: the input of a tagging job.
        truth: Parquet file, one row a file, keys relative to `images`.
        num_images: Good files.
        num_damaged: Damaged files besides.
    """

    images: Path
    truth: Path
    num_images: int
    num_damaged: int


def write_shapes(
    out: Path,
    num_images: int,
    *,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    formats: tuple[str, ...] = ("jpeg", "png", "webp"),
    damaged: int = 0,
    processes: int | None = None,
) -> WrittenArchive:
    """Writes an archive, or finds that it is there already.

    Args:
        out: Folder; made if missing. It must be empty or hold an archive of the same settings.
        num_images: Good files, at least 0.
        seed: Data set, at least 0.
        size: (width, height) of all pictures in pixels, or None for photo-like sizes between
            320x240 and 1024x768, both orientations.
        formats: Of the good files: a choice of "jpeg", "png" and "webp".
        damaged: Damaged files besides the good ones, spread among them, of all kinds in turn.
        processes: Processes to use; None for one a core. The files do not depend on it.

    Raises:
        ValueError: If a value is out of its bounds, or `out` holds something else.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    settings = ArchiveSettings(num_images, seed, size, formats, damaged)
    archive = WrittenArchive(out / "images", out / "truth.parquet", num_images, damaged)
    _claim(out, settings)
    if archive.truth.exists():
        return archive
    archive.images.mkdir(exist_ok=True)
    work = partial(write_files, settings, archive.images)
    files = range(settings.num_files)
    rows = [row for part in in_chunks(work, files, _CHUNK, processes) for row in part]
    schema = _SCHEMA.with_metadata({"shapes": settings.to_json()})
    partial_path = out / "truth.parquet.partial"
    pq.write_table(_table(rows, schema), partial_path)
    with partial_path.open("rb") as written:
        os.fsync(written.fileno())
    partial_path.replace(archive.truth)
    return archive


def _claim(out: Path, settings: ArchiveSettings) -> None:
    """Makes the folder this archive's own, or raises ValueError where it is another's."""
    record = out / "shapes.json"
    if record.exists():
        found = record.read_text(encoding="utf-8").strip()
        if found != settings.to_json():
            raise ValueError(
                f"out={out} holds shapes of other settings: {found}, asked for {settings.to_json()}"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out={out} must be an empty or new folder, it holds something else")
    out.mkdir(parents=True, exist_ok=True)
    # Written whole or not at all: a torn record would lock the folder against its own settings.
    partial_record = out / "shapes.json.partial"
    partial_record.write_text(settings.to_json() + "\n", encoding="utf-8")
    partial_record.replace(record)


def _table(rows: list[FileTruth], schema: pa.Schema) -> pa.Table:
    columns: dict[str, list[object]] = {
        name: [getattr(row, name) for row in rows]
        for name in FileTruth._fields
        if name != "factors"
    }
    for name in FACTOR_NAMES:
        columns[name] = [row.factors and getattr(row.factors, name) for row in rows]
    return pa.table(columns, schema=schema)
