"""Decoding on its own, and fetching with it: images a second and core, beside the plain way.

    python -m benchmarks.decode ../shared/datasets/photos --out benchmarks/results/decode.json

The plain way opens a file with Pillow, converts it to RGB, resizes its short side to 256, bicubic,
and cuts out 224 pixels. All ways take turns in one process on one core; the figure is the median of
the rounds, in processor time, so that other work on the machine counts little. `isolated` is what
the decode actor does: fetching there, decoding in a child; both processes' time is counted.

Also told: how far the pixels are from the plain way's, and in how many pictures a T2T-ViT-12 with
random weights, which sees every small difference, answers otherwise (`--labels`).
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, features

import dvt
from benchmarks.reporting import report
from dvt.preprocess import normalise, pixels_to_unit
from pipeline.decoding import DecodeSettings, IsolatedDecoder, decode
from pipeline.sources import read_file

_RESIZE, _CROP = 256, 224
_EXACT = DecodeSettings(resize=_RESIZE, crop=_CROP)
_FAST = DecodeSettings(resize=_RESIZE, crop=_CROP, decode="fast")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of pictures that can all be read")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--labels", action="store_true", help="compare labels too")
    parser.add_argument("--out", type=Path, help="keep the results in this file too")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    paths = sorted(path for path in given.folder.iterdir() if path.is_file())
    uris = [path.resolve().as_uri() for path in paths]
    contents = [path.read_bytes() for path in paths]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})

    def fetched(settings: DecodeSettings) -> None:
        for uri in uris:
            decode(read_file(uri, settings.max_bytes), settings)

    def all_of(way: Callable[[Any], object], items: list[Any]) -> Callable[[], object]:
        return lambda: [way(item) for item in items]

    ways: dict[str, Callable[[], object]] = {
        "plain": all_of(plain, paths),
        "decode exact": all_of(lambda content: decode(content, _EXACT), contents),
        "decode fast": all_of(lambda content: decode(content, _FAST), contents),
        "fetch + decode exact": lambda: fetched(_EXACT),
        "fetch + decode fast": lambda: fetched(_FAST),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            started = time.process_time()
            way()
            taken[name].append(time.process_time() - started)
    seconds_of = {name: statistics.median(seconds) for name, seconds in taken.items()}
    seconds_of["fetch + decode exact, isolated"] = _isolated(uris, given.rounds)
    figures = {
        name: {
            "ms_per_image": round(1000 * seconds / len(paths), 3),
            "images_s_core": round(len(paths) / seconds, 1),
            "of_plain": round(seconds / seconds_of["plain"], 3),
        }
        for name, seconds in seconds_of.items()
    }
    for name, figure in figures.items():
        print(f"{name}: {figure}", flush=True)
    os.sched_setaffinity(0, cores)
    reference = np.stack([plain(path) for path in paths])
    pixels = {
        mode: np.stack([decode(content, settings).pixels for content in contents])
        for mode, settings in (("exact", _EXACT), ("fast", _FAST))
    }
    differences = {mode: _difference(got, reference) for mode, got in pixels.items()}
    labels = None
    if given.labels:
        expected = _labels(reference)
        labels = {mode: int((_labels(got) != expected).sum()) for mode, got in pixels.items()}
    report(
        {
            "images": len(paths),
            "ways": figures,
            "grey_levels_off_plain": differences,
            "labels_changed_of_random_t2t_vit_12": labels,
            "libraries": {
                "pillow": PIL.__version__,
                "libjpeg_turbo": features.version("libjpeg_turbo"),
            },
        },
        given,
    )


def plain(path: Path) -> NDArray[np.uint8]:
    """As people write it: everything is resized, then the centre is cut out."""
    picture = Image.open(path).convert("RGB")
    short, long = sorted(picture.size)
    scaled = int(_RESIZE * long / short)
    size = (_RESIZE, scaled) if picture.width <= picture.height else (scaled, _RESIZE)
    left, top = (round((side - _CROP) / 2) for side in size)
    resized = picture.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + _CROP, top + _CROP)))


def _isolated(uris: list[str], rounds: int) -> float:
    """Processor time of both processes; that of a child is known once it has ended."""

    def run(blocks: int) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.process_time()
        decoder = IsolatedDecoder(_EXACT)
        for _ in range(blocks):
            decoder.decode_all((read_file(uri, _EXACT.max_bytes) for uri in uris), len(uris))
        decoder.close()
        own = time.process_time() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return own + after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # What a start costs is left out: a child serves as long as no file ends it.
    return (run(rounds + 1) - run(1)) / rounds


def _difference(got: NDArray[np.uint8], reference: NDArray[np.uint8]) -> dict[str, float]:
    off = np.abs(got.astype(np.int16) - reference)
    return {
        "mean": round(float(off.mean()), 5),
        "max": int(off.max()),
        "share_above_0": float((off > 0).mean()),
        "share_above_1": float((off > 1).mean()),
    }


def _labels(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    torch.manual_seed(0)
    model = dvt.create_model("dvt_t2t_vit_12").eval()
    labels = []
    with torch.inference_mode():
        for part in np.array_split(pixels, max(1, len(pixels) // 20)):
            images = pixels_to_unit(torch.from_numpy(part))
            logits = model(normalise(images, model.config.preprocess))
            labels.append(logits[-1].argmax(1).numpy())
    return np.concatenate(labels)


if __name__ == "__main__":
    main()
