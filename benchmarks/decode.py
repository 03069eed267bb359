"""Times decoding, with and without fetching, against the plain way of Pillow.

    python -m benchmarks.decode FOLDER --out benchmarks/results/decode.json

FOLDER has images that can all be read. The plain way opens a file with Pillow, converts it to RGB,
resizes its short side to 256, bicubic, and crops 224 × 224 pixels. All contenders run in one
process on one core. Times are processor times, so that other load on the machine matters little.
`isolated` is what the decode actor does: it fetches, and a child process decodes; both count.

Also reports how far the pixels are from those of the plain way.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from benchmarks.reporting import argument_parser, in_turns, report
from pipeline.decoding import DecodeSettings, IsolatedDecoder, decode
from pipeline.storage import read_file

_RESIZE, _CROP = 256, 224
_EXACT = DecodeSettings(resize=_RESIZE, crop=_CROP)
_FAST = DecodeSettings(resize=_RESIZE, crop=_CROP, decode="fast")


def arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("folder", type=Path, help="images that can all be read")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    paths = sorted(path for path in given.folder.iterdir() if path.is_file())
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    seconds_of = time_all(paths, given.rounds)
    os.sched_setaffinity(0, cores)
    contenders = {
        name: {
            "ms_per_image": round(1000 * seconds / len(paths), 3),
            "images_s_core": round(len(paths) / seconds, 1),
            "of_plain": round(seconds / seconds_of["plain"], 3),
        }
        for name, seconds in seconds_of.items()
    }
    for name, figures in contenders.items():
        print(f"{name}: {figures}", flush=True)
    reference = np.stack([plain(path) for path in paths])
    pixels = {
        settings.decode: np.stack([decode(path.read_bytes(), settings).pixels for path in paths])
        for settings in (_EXACT, _FAST)
    }
    results = {
        "images": len(paths),
        "contenders": contenders,
        "grey_levels_off_plain": {
            mode: pixel_difference(got, reference) for mode, got in pixels.items()
        },
        "libjpeg_turbo": features.version("libjpeg_turbo"),
    }
    report(results, given)


def time_all(paths: list[Path], rounds: int) -> dict[str, float]:
    """Median seconds that each contender takes for all files."""
    uris = [path.resolve().as_uri() for path in paths]
    contents = [path.read_bytes() for path in paths]

    def fetched(settings: DecodeSettings) -> Iterable[bytes]:
        return (read_file(uri, settings.max_bytes) for uri in uris)

    def decode_all(files: Iterable[bytes], settings: DecodeSettings) -> None:
        for content in files:
            decode(content, settings)

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        def run() -> float:
            started = time.process_time()
            work()
            return time.process_time() - started

        return run

    contenders = {
        "plain": timed(lambda: [plain(path) for path in paths]),
        "decode exact": timed(lambda: decode_all(contents, _EXACT)),
        "decode fast": timed(lambda: decode_all(contents, _FAST)),
        "fetch + decode exact": timed(lambda: decode_all(fetched(_EXACT), _EXACT)),
        "fetch + decode fast": timed(lambda: decode_all(fetched(_FAST), _FAST)),
    }
    times = in_turns(contenders, rounds)
    seconds_of = {name: statistics.median(seconds) for name, seconds in times.items()}

    def isolated(num_blocks: int) -> float:
        """Processor time of both processes; that of a child is available once it has ended."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.process_time()
        decoder = IsolatedDecoder(_EXACT)
        for _ in range(num_blocks):
            decoder.decode_all(fetched(_EXACT), len(uris))
        decoder.close()
        own_s = time.process_time() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return own_s + after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Without the start of the child, which serves for many blocks.
    seconds_of["fetch + decode exact, isolated"] = (isolated(rounds + 1) - isolated(1)) / rounds
    return seconds_of


def plain(path: Path) -> NDArray[np.uint8]:
    """Decodes as is commonly done: resizes everything, then crops the centre."""
    image = Image.open(path).convert("RGB")
    short, long = sorted(image.size)
    scaled = int(_RESIZE * long / short)
    size = (_RESIZE, scaled) if image.width <= image.height else (scaled, _RESIZE)
    left, top = (round((side - _CROP) / 2) for side in size)
    resized = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + _CROP, top + _CROP)))


def pixel_difference(got: NDArray[np.uint8], reference: NDArray[np.uint8]) -> dict[str, float]:
    off = np.abs(got.astype(np.int16) - reference)
    return {
        "mean": round(float(off.mean()), 5),
        "max": int(off.max()),
        "share_above_0": float((off > 0).mean()),
        "share_above_1": float((off > 1).mean()),
    }


if __name__ == "__main__":
    main()
