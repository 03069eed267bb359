"""Decodes mutated images of every format in the isolated decoder; each must have one outcome.

    python -m benchmarks.fuzz_decode --images 20000 --out benchmarks/results/fuzz-decode.json

Counts the outcomes and the crashes and hangs of the child process. Reports the longest time of a
block, and the child's resident memory over the run.
"""

import argparse
import itertools
import time
from collections import Counter

from benchmarks.reporting import argument_parser, report
from pipeline.decoding import DecodeSettings, IsolatedDecoder
from pipeline.errors import ImageError
from tests.mutated_files import mutated_files

_BLOCK = 100


def arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=("exact", "fast"), default="exact")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    settings = DecodeSettings(resize=256, crop=224, decode=given.mode, decode_seconds=20.0)
    decoder = IsolatedDecoder(settings)
    outcomes: Counter[str] = Counter()
    restarts: list[dict[str, str]] = []
    resident_mb: list[float] = []
    slowest_s = 0.0
    started = time.perf_counter()
    files = mutated_files(given.images, given.seed)
    while block := list(itertools.islice(files, _BLOCK)):
        block_started = time.perf_counter()
        _, decoded = decoder.decode_all((content for _, content in block), len(block))
        slowest_s = max(slowest_s, time.perf_counter() - block_started)
        assert len(decoded) == len(block), "an image was lost"
        for (key, _), outcome in zip(block, decoded, strict=True):
            if not isinstance(outcome, ImageError):
                outcomes["pixels"] += 1
                continue
            outcomes[outcome.reason.value] += 1
            if "crashed" in outcome.detail or "longer than" in outcome.detail:
                restarts.append({"made_from": key, "detail": outcome.detail})
        resident_mb.append(decoder.resident_bytes / 1e6)
        if len(resident_mb) % 20 == 0:
            print(f"{sum(outcomes.values())} images, {resident_mb[-1]:.0f} MB", flush=True)
    decoder.close()
    third = max(1, len(resident_mb) // 3)
    report(
        {
            "images": sum(outcomes.values()),
            "outcomes": dict(outcomes),
            "crashes_and_hangs": restarts,
            "slowest_block_s": round(slowest_s, 2),
            "resident_mb_first_third_max": round(max(resident_mb[:third]), 1),
            "resident_mb_last_third_max": round(max(resident_mb[-third:]), 1),
            "seconds": round(time.perf_counter() - started, 1),
        },
        given,
    )


if __name__ == "__main__":
    main()
