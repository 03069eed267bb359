"""Mutated images of every format through the isolated decoder: tag or dead letter, and no more.

    python -m benchmarks.fuzz_decode --images 20000 --out benchmarks/results/fuzz-decode.json

Counts what became of them, how often the decoder had to be started anew, the longest that a block
took, and the resident memory of the decoder in the course of it.
"""

import argparse
import itertools
import time
from collections import Counter
from pathlib import Path

from benchmarks.reporting import report
from pipeline.decoding import DecodeSettings, IsolatedDecoder
from pipeline.errors import ImageError
from tests.mutated_files import mutated_files

_BLOCK = 100


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=("exact", "fast"), default="exact")
    parser.add_argument("--out", type=Path, help="keep the results in this file too")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    settings = DecodeSettings(resize=256, crop=224, decode=given.mode, decode_seconds=20.0)
    decoder = IsolatedDecoder(settings)
    outcomes: Counter[str] = Counter()
    ended: list[dict[str, str]] = []
    resident: list[float] = []
    slowest = 0.0
    started = time.perf_counter()
    files = mutated_files(given.images, given.seed)
    while block := list(itertools.islice(files, _BLOCK)):
        began = time.perf_counter()
        _, answers = decoder.decode_all((content for _, content in block), len(block))
        slowest = max(slowest, time.perf_counter() - began)
        assert len(answers) == len(block), "an image was lost"
        for (key, _), answer in zip(block, answers, strict=True):
            if not isinstance(answer, ImageError):
                outcomes["pixels"] += 1
                continue
            outcomes[answer.reason.value] += 1
            if "crashed" in answer.detail or "longer than" in answer.detail:
                ended.append({"made_from": key, "detail": answer.detail})
        resident.append(decoder.resident_bytes / 1e6)
        if len(resident) % 20 == 0:
            print(f"{sum(outcomes.values())} images, {resident[-1]:.0f} MB", flush=True)
    decoder.close()
    third = len(resident) // 3
    report(
        {
            "images": sum(outcomes.values()),
            "outcomes": dict(outcomes),
            "crashes_and_hangs": ended,
            "slowest_block_s": round(slowest, 2),
            "resident_mb_first_third_max": round(max(resident[: third or 1]), 1),
            "resident_mb_last_third_max": round(max(resident[-(third or 1) :]), 1),
            "seconds": round(time.perf_counter() - started, 1),
        },
        given,
    )


if __name__ == "__main__":
    main()
