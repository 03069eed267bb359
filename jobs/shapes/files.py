"""The files of an archive, each determined by the archive's settings and its number.

Names, sizes, formats and damage depend on the number alone, so any process may write any file.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from jobs.shapes.damage import DAMAGES
from jobs.shapes.paint import Sample, check_size, render
from jobs.shapes.random_stream import RandomStream

__all__ = ["ArchiveSettings", "FileTruth", "write_files"]

_FILES_PER_FOLDER = 1000
_FORMAT_WEIGHTS = (("jpeg", 14), ("png", 3), ("webp", 3))
# Landscape sizes with their weights; mostly small, so that a file decodes in a few milliseconds.
_SIZES = (
    ((320, 240), 34),
    ((400, 300), 26),
    ((480, 320), 16),
    ((500, 375), 12),
    ((640, 480), 8),
    ((800, 600), 3),
    ((1024, 768), 1),
)
# Not among the seeds of an image's own stream, which has no third seed.
_FILE_STREAM = 1


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """Settings that determine an archive's content.

    Attributes:
        num_images: intact files, at least 0.
        seed: of the data set, at least 0.
        size: (width, height) of all images in pixels, or None for photo-like sizes.
        damaged: damaged files in addition, at least 0.

    Raises:
        ValueError: a value is out of bounds.
    """

    num_images: int
    seed: int
    size: tuple[int, int] | None
    damaged: int

    def __post_init__(self) -> None:
        """Checks all bounds."""
        for field in ("num_images", "seed", "damaged"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field}: must be at least 0 (got {getattr(self, field)})")
        if self.size is not None:
            check_size(*self.size)

    @property
    def num_files(self) -> int:
        """Intact and damaged files together."""
        return self.num_images + self.damaged

    def damage_number(self, number: int) -> int | None:
        """Index of file `number` among the damaged files; None for an intact file.

        Damaged files are spread evenly over the archive.
        """
        before, after = (
            ((number + step) * self.damaged + self.num_files // 2) // self.num_files
            for step in (0, 1)
        )
        return before if after > before else None

    def to_json(self) -> str:
        """The settings as JSON with sorted keys."""
        return dumps(asdict(self), sort_keys=True)


class FileTruth(NamedTuple):
    """The expected result of one file.

    Attributes:
        key: path below `images`, "/"-separated.
        label: class name; None if the file cannot be tagged.
        label_id: index of the class; None if the file cannot be tagged.
        width: of the original image, in pixels.
        height: of the original image, in pixels.
        damage: kind of damage, or None.
        expected_reason: dead-letter reason, or None if the file can be tagged.
    """

    key: str
    label: str | None
    label_id: int | None
    width: int
    height: int
    damage: str | None
    expected_reason: str | None


def write_files(settings: ArchiveSettings, images: Path, numbers: Sequence[int]) -> list[FileTruth]:
    """Writes the files of these numbers below `images`."""
    return [_write_file(settings, images, number) for number in numbers]


def _write_file(settings: ArchiveSettings, images: Path, number: int) -> FileTruth:
    random = RandomStream(settings.seed, number, _FILE_STREAM)
    width, height = settings.size or _draw_size(random)
    sample = render(settings.seed, number, width, height)
    stem = f"{number // _FILES_PER_FOLDER:03d}/{number:07d}"
    (images / stem).parent.mkdir(parents=True, exist_ok=True)
    damaged = settings.damage_number(number)
    if damaged is None:
        return _truth(_save(random, sample.image, images, stem), sample)
    turn, kind = divmod(damaged, len(DAMAGES))
    damage = DAMAGES[kind]
    file = damage.make(sample.image, turn)
    key = f"{stem}.{file.extension}"
    (images / key).write_bytes(file.content)
    if damage.expected_reason is None:
        return _truth(key, sample, damage.name)
    return FileTruth(key, None, None, width, height, damage.name, damage.expected_reason)


def _truth(key: str, sample: Sample, damage: str | None = None) -> FileTruth:
    width, height = sample.image.size
    return FileTruth(key, sample.label, sample.label_id, width, height, damage, None)


def _draw_size(random: RandomStream) -> tuple[int, int]:
    width, height = random.weighted(_SIZES)
    return (height, width) if random.chance(0.35) else (width, height)


def _save(random: RandomStream, image: Image.Image, images: Path, stem: str) -> str:
    """Saves an intact file in a random format; returns its key."""
    kind = random.weighted(_FORMAT_WEIGHTS)
    key = f"{stem}.{'jpg' if kind == 'jpeg' else kind}"
    path = images / key
    if kind == "jpeg":
        image.save(path, "JPEG", quality=random.between(85, 95))
    elif kind == "png":
        image.save(path, "PNG", compress_level=1)
    else:
        image.save(path, "WEBP", quality=85, method=0)
    return key
