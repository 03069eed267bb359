"""Labelled pictures for training and evaluation, from a folder or drawn on the spot.

A data set is named by
    a folder with `truth.parquet` (columns `key`, `label`) beside `images/`, as `dvt shapes` writes;
    a folder of folders, each named like its class;
    `shapes:NUM` or `shapes:NUM:SEED`: the first pictures of the drawn data set.
All of them pass through the decoding of the engine, so that a model is trained and judged on
what it will see.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.shapes import CLASSES, render
from jobs.shapes.workers import in_chunks
from pipeline.decode import DecodeSettings, decode, fit
from pipeline.errors import ImageError, UsageError
from pipeline.sources import open_source
from pipeline.sources.folder import FolderFetcher

__all__ = ["LabelledPictures", "load_labelled"]

_CHUNK = 250


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """A data set in memory.

    Attributes:
        pixels: [N, S, S, 3] uint8.
        labels: [N] int64, indices into `names`.
        names: of the classes.
        num_unreadable: pictures that were left out.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    num_unreadable: int


def load_labelled(
    data: str, settings: DecodeSettings, names: Sequence[str] | None = None
) -> LabelledPictures:
    """Loads a data set.

    Args:
        data: see the module's text.
        settings: size and interpolation of the model.
        names: the model's classes, which give the label ids; None to take those of the data.

    Raises:
        UsageError: there is no such data set, or it has a class that `names` lacks.
    """
    drawn = re.fullmatch(r"shapes:(\d+)(?::(\d+))?", data)
    if drawn:
        if names is not None and tuple(names) != CLASSES:
            raise UsageError(f"data: {data} has the classes of `shapes`, the model has others")
        work = partial(_draw_all, int(drawn[2] or 0), settings)
        return LabelledPictures(*_gathered(work, range(int(drawn[1])), settings), CLASSES, 0)
    uris, labels = _listed(data)
    if not uris:
        raise UsageError(f"data: no labelled images in {data}")
    known = tuple(names) if names is not None else tuple(sorted(set(labels)))
    strangers = sorted(set(labels) - set(known))
    if strangers:
        raise UsageError(f"data: class {strangers[0]!r} is none of the model's {len(known)}")
    pixels, readable = _gathered(partial(_decode_all, settings), uris, settings)
    id_of = {name: number for number, name in enumerate(known)}
    ids = np.array([id_of[label] for label in labels], dtype=np.int64)
    good = readable.astype(bool)
    return LabelledPictures(pixels[good], ids[good], known, int((~good).sum()))


def _listed(data: str) -> tuple[list[str], list[str]]:
    """URIs and labels of a folder; files without a label are left out."""
    folder = Path(data)
    truth = folder / "truth.parquet"
    if truth.is_file():
        table = pq.read_table(truth, columns=["key", "label"])
        label_of = dict(zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True))
        images = list(open_source(str(folder / "images")).list_images())
        pairs = [(image.uri, label_of.get(image.key)) for image in images]
    else:
        images = list(open_source(data).list_images())
        pairs = [
            (image.uri, image.key.split("/")[0] if "/" in image.key else None) for image in images
        ]
    labelled = [(uri, label) for uri, label in pairs if label is not None]
    return [uri for uri, _ in labelled], [label for _, label in labelled]


Pixels = NDArray[np.uint8]
Numbers = NDArray[np.int64]


def _gathered(
    work: Callable[[Sequence[Any]], tuple[Pixels, Numbers]],
    items: Sequence[Any],
    settings: DecodeSettings,
) -> tuple[Pixels, Numbers]:
    """Pixels [N, S, S, 3] and one number an item, made by all cores."""
    pixels = np.empty((len(items), settings.crop, settings.crop, 3), np.uint8)
    numbers = np.empty(len(items), np.int64)
    done = 0
    for part, part_numbers in in_chunks(work, items, _CHUNK):
        here = slice(done, done + len(part_numbers))
        pixels[here], numbers[here] = part, part_numbers
        done = here.stop
    return pixels, numbers


def _decode_all(settings: DecodeSettings, uris: Sequence[str]) -> tuple[Pixels, Numbers]:
    """Pixels, and 1 for what could be read, 0 for what could not."""
    fetcher = FolderFetcher()
    pixels = np.zeros((len(uris), settings.crop, settings.crop, 3), np.uint8)
    readable = np.zeros(len(uris), np.int64)
    for row, uri in enumerate(uris):
        try:
            pixels[row] = decode(fetcher.fetch(uri, settings.max_bytes), settings).pixels
        except ImageError:
            continue
        readable[row] = 1
    return pixels, readable


def _draw_all(
    seed: int, settings: DecodeSettings, indices: Sequence[int]
) -> tuple[Pixels, Numbers]:
    """Pixels and labels of the drawn data set."""
    # Drawn at twice the size and resized by the engine, like a photograph would be.
    side = 2 * settings.resize
    samples = [render(seed, index, side, side) for index in indices]
    pixels = np.stack([fit(sample.image, settings) for sample in samples])
    return pixels, np.array([sample.label_id for sample in samples], dtype=np.int64)
