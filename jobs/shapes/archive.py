"""Writes an archive of image files with the expected result of each.

Layout: `images/NNN/NNNNNNN.jpg|png|webp`, a thousand files per folder; `shapes.json` with the
settings, written first; `truth.parquet`, written last, so its existence means completion. The same
call completes an interrupted archive; a folder of other settings is refused.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.parallel import map_in_order
from jobs.shapes.files import ArchiveSettings, write_files

__all__ = ["WrittenArchive", "write_shapes"]

_FILES_PER_CALL = 100

_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("label_id", pa.int32()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("damage", pa.string()),
        pa.field("expected_reason", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class WrittenArchive:
    """Location and size of an archive.

    Attributes:
        images: folder of the files; the input of a tagging job.
        truth: Parquet file, one row per file, keys relative to `images`.
        num_images: intact files.
        num_damaged: damaged files.
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
    damaged: int = 0,
    processes: int | None = None,
) -> WrittenArchive:
    """Writes an archive, unless it is already complete.

    Args:
        out: folder, created if missing; must be empty or hold an archive of the same settings.
        num_images: intact files, at least 0.
        seed: of the data set, at least 0.
        size: (width, height) of all images in pixels, or None for photo-like sizes from 320x240 to
            1024x768, in both orientations.
        damaged: damaged files in addition, of all kinds in turn.
        processes: None for one per core; does not affect the files.

    Raises:
        ValueError: a value is out of bounds, or `out` holds something else.
    """
    from dvt.atomic_io import atomic_write  # loads torch, which drawing processes do not need

    settings = ArchiveSettings(num_images, seed, size, damaged)
    archive = WrittenArchive(out / "images", out / "truth.parquet", num_images, damaged)
    _claim(out, settings)
    if archive.truth.exists():
        return archive
    archive.images.mkdir(exist_ok=True)
    numbers = range(settings.num_files)
    chunks = (numbers[at : at + _FILES_PER_CALL] for at in numbers[::_FILES_PER_CALL])
    work = partial(write_files, settings, archive.images)
    rows = [row._asdict() for part in map_in_order(work, chunks, processes) for row in part]
    with atomic_write(archive.truth) as path:
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), path)
    return archive


def _claim(out: Path, settings: ArchiveSettings) -> None:
    """Records the settings in the folder; raises ValueError if it holds something else."""
    from dvt.atomic_io import atomic_write

    record = out / "shapes.json"
    if record.exists():
        found = record.read_text(encoding="utf-8").strip()
        if found != settings.to_json():
            raise ValueError(
                f"out: {out} holds shapes of other settings: {found} (got {settings.to_json()})"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out: must be an empty or new folder, {out} holds something else")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(record) as path:
        path.write_text(settings.to_json() + "\n", encoding="utf-8")
