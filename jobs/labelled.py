"""Labelled pictures for training and evaluation, from a folder or drawn on the spot.

A data set is named by
    a folder with `truth.parquet` (columns `key`, `label`) beside `images/`, as `dvt shapes` writes;
    a folder of folders, each named like its class;
    `shapes:NUM` or `shapes:NUM:SEED`: the first pictures of the drawn data set.
All of them pass through the decoding of the engine, so that a model is trained and judged on
what it will see.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.shapes import CLASSES, render
from jobs.shapes.workers import in_chunks
from pipeline.decode import DecodeSettings, decode, fit
from pipeline.errors import ImageError, UsageError
from pipeline.sources import open_source

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
        return _draw(int(drawn[1]), int(drawn[2] or 0), settings)
    uris, labels = _listed(data)
    if not uris:
        raise UsageError(f"data: no labelled images in {data}")
    known = tuple(names) if names is not None else tuple(sorted(set(labels)))
    strangers = sorted(set(labels) - set(known))
    if strangers:
        raise UsageError(f"data: class {strangers[0]!r} is none of the model's {len(known)}")
    pixels = np.empty((len(uris), settings.crop, settings.crop, 3), np.uint8)
    readable = np.zeros(len(uris), dtype=bool)
    done = 0
    for part, good in in_chunks(partial(_decode_range, uris, settings), len(uris), _CHUNK, None):
        here = slice(done, done + len(good))
        pixels[here], readable[here] = part, good
        done = here.stop
    id_of = {name: number for number, name in enumerate(known)}
    ids = np.array([id_of[label] for label in labels], dtype=np.int64)
    return LabelledPictures(pixels[readable], ids[readable], known, int((~readable).sum()))


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


def _decode_range(
    uris: list[str], settings: DecodeSettings, start: int, stop: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    from pipeline.sources.folder import FolderFetcher

    fetcher = FolderFetcher()
    pixels = np.zeros((stop - start, settings.crop, settings.crop, 3), np.uint8)
    good = np.zeros(stop - start, dtype=bool)
    for row, uri in enumerate(uris[start:stop]):
        try:
            pixels[row] = decode(fetcher.fetch(uri, settings.max_bytes), settings).pixels
            good[row] = True
        except ImageError:
            continue
    return pixels, good


def _draw(num_images: int, seed: int, settings: DecodeSettings) -> LabelledPictures:
    pixels = np.empty((num_images, settings.crop, settings.crop, 3), np.uint8)
    labels = np.empty(num_images, np.int64)
    done = 0
    work = partial(_draw_range, seed, settings)
    for part, part_labels in in_chunks(work, num_images, _CHUNK, None):
        here = slice(done, done + len(part_labels))
        pixels[here], labels[here] = part, part_labels
        done = here.stop
    return LabelledPictures(pixels, labels, CLASSES, 0)


def _draw_range(
    seed: int, settings: DecodeSettings, start: int, stop: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pixels, labels = [], []
    for index in range(start, stop):
        # Drawn at twice the size and resized by the engine, like a photograph would be.
        sample = render(seed, index, 2 * settings.resize, 2 * settings.resize)
        pixels.append(fit(sample.image, settings))
        labels.append(sample.label_id)
    return np.stack(pixels), np.array(labels, dtype=np.int64)
