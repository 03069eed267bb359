"""The files of an archive, each fully determined by the archive's settings and its number.

Any process may write any file: names, sizes, formats and damage follow from the number alone. This
module writes pictures; the truth table is `archive`'s.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from jobs.shapes.damage import DAMAGES
from jobs.shapes.draws import Draws
from jobs.shapes.factors import Factors
from jobs.shapes.paint import Sample, check_size, render

__all__ = ["ArchiveSettings", "FileTruth", "write_files"]

RECIPE = 1
"""Raised whenever the same settings begin to give other files."""

_FILES_PER_FOLDER = 1000
_EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}
_FORMAT_WEIGHTS = {"jpeg": 14, "png": 3, "webp": 3}
# Landscape sizes with their weights: mostly small, so that a file decodes in a few milliseconds.
_SIZES = (
    ((320, 240), 34),
    ((400, 300), 26),
    ((480, 320), 16),
    ((500, 375), 12),
    ((640, 480), 8),
    ((800, 600), 3),
    ((1024, 768), 1),
)


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """What an archive's content follows from.

    Attributes:
        num_images: Good files, at least 0.
        seed: Data set, at least 0.
        size: (width, height) of all pictures in pixels, or None for photo-like sizes.
        formats: Of the good files: a choice of "jpeg", "png" and "webp".
        damaged: Damaged files besides the good ones, at least 0.
    """

    num_images: int
    seed: int
    size: tuple[int, int] | None
    formats: tuple[str, ...]
    damaged: int

    def __post_init__(self) -> None:
        """Refuses what no archive can be made of.

        Raises:
            ValueError: Naming the field, its bound and what was given.
        """
        for field in ("num_images", "seed", "damaged"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must be at least 0, got {getattr(self, field)}")
        if not self.formats or set(self.formats) - set(_EXTENSIONS):
            raise ValueError(f"formats must be some of {list(_EXTENSIONS)}, got {self.formats}")
        if self.size is not None:
            check_size(*self.size)

    @property
    def num_files(self) -> int:
        """Good and damaged files together."""
        return self.num_images + self.damaged

    def damage_number(self, number: int) -> int | None:
        """Which damaged file, from 0, the file `number` is; None for a good one.

        The damaged files are spread evenly among the good ones.
        """
        before, after = (
            ((number + step) * self.damaged + self.num_files // 2) // self.num_files
            for step in (0, 1)
        )
        return before if after > before else None

    def to_json(self) -> str:
        """The settings as JSON with sorted keys, with the recipe that turns them into files."""
        return json.dumps({"recipe": RECIPE, **asdict(self)}, sort_keys=True)


class FileTruth(NamedTuple):
    """What is known about one file.

    Attributes:
        key: Path below `images`, "/"-separated.
        label: Class name; None where the file cannot be tagged, as are the next three.
        label_id: Index of the class.
        difficulty: In 0..1.
        factors: What makes the picture hard.
        width: Of the picture the file was made from, in pixels.
        height: The same.
        damage: Kind of damage, or None.
        expected_reason: Dead-letter reason, or None where the file can be tagged.
    """

    key: str
    label: str | None
    label_id: int | None
    difficulty: float | None
    factors: Factors | None
    width: int
    height: int
    damage: str | None
    expected_reason: str | None


def write_files(settings: ArchiveSettings, images: Path, numbers: Sequence[int]) -> list[FileTruth]:
    """Writes the files of these numbers below `images` and tells the truth about each."""
    return [_write_file(settings, images, number) for number in numbers]


def _write_file(settings: ArchiveSettings, images: Path, number: int) -> FileTruth:
    draws = Draws(settings.seed, number, 1)  # not the picture's own stream, which has no third seed
    width, height = settings.size or _draw_size(draws)
    sample = render(settings.seed, number, width, height)
    stem = f"{number // _FILES_PER_FOLDER:03d}/{number:07d}"
    (images / stem).parent.mkdir(parents=True, exist_ok=True)
    damaged = settings.damage_number(number)
    if damaged is None:
        return _truth(_save(draws, settings.formats, sample.image, images, stem), sample)
    turn, kind = divmod(damaged, len(DAMAGES))
    damage = DAMAGES[kind]
    file = damage.make(sample.image, turn)
    key = f"{stem}.{file.extension}"
    (images / key).write_bytes(file.content)
    if damage.expected_reason is None:
        return _truth(key, sample)._replace(damage=damage.name)
    return FileTruth(
        key, None, None, None, None, width, height, damage.name, damage.expected_reason
    )


def _truth(key: str, sample: Sample) -> FileTruth:
    return FileTruth(
        key=key,
        label=sample.label,
        label_id=sample.label_id,
        difficulty=sample.difficulty,
        factors=sample.factors,
        width=sample.image.width,
        height=sample.image.height,
        damage=None,
        expected_reason=None,
    )


def _draw_size(draws: Draws) -> tuple[int, int]:
    (width, height) = draws.weighted(_SIZES)
    return (height, width) if draws.chance(0.35) else (width, height)


def _save(
    draws: Draws, formats: tuple[str, ...], image: Image.Image, images: Path, stem: str
) -> str:
    """Saves a good file in a format drawn from `formats`; returns its key."""
    chosen = draws.weighted(tuple((name, _FORMAT_WEIGHTS[name]) for name in formats))
    key = f"{stem}.{_EXTENSIONS[chosen]}"
    path = images / key
    if chosen == "jpeg":
        image.save(path, "JPEG", quality=draws.between(85, 95))
    elif chosen == "png":
        image.save(path, "PNG", compress_level=1)
    else:
        image.save(path, "WEBP", quality=85, method=0)
    return key
