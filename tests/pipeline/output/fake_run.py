"""A run without Ray, model or images, on a real output; to be run in any process.

python -m tests.pipeline.output.fake_run OUT NUM_IMAGES PAUSE_S LEASE_S
"""

import sys
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import pipeline.output.lease
from pipeline.errors import PipelineError, Reason, UsageError
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.output.metadata import ModelIdentity, RunFile, Summary
from pipeline.output.results import Results
from pipeline.records import TAGS_SCHEMA, DeadLetter, ImageRecord
from pipeline.scheduling import Origins
from pipeline.settings import BINDING_OPTIONS
from pipeline.sources.sharding import Shard, cut_shards

GMACS = (1.0, 3.0)
_CHUNK = 40
_OPTIONS = (*BINDING_OPTIONS, "state", "moved")


def run_file(**changes: object) -> RunFile:
    """A `run.json` of this module, with other values of some fields or options."""
    model = ModelIdentity(
        name="m", digest="d1", num_classes=2, stages=("a", "b"), gmacs_per_exit=GMACS
    )
    fields: dict[str, object] = {
        "run": f"r{time.time_ns()}",
        "inputs": ("file:///a",),
        "model": model,
        "thresholds": (0.5,),
        "dtype": "float32",
        "versions": {},
        "hardware": {"cpu": "c", "num_cpus": 2, "gpus": []},
        "started_at": "2026-03-12T10:15:00+00:00",
    }
    options = {name: changes.pop(name) for name in _OPTIONS if name in changes}
    settings = {"input": "a", "out": "o"} | options
    return RunFile.model_validate(fields | {"settings": settings} | changes)


def listing(num_images: int) -> Iterator[ImageRecord]:
    for number in range(num_images):
        yield ImageRecord(f"{number:06d}.jpg", f"file:///{number}", 1000 + number, f"e{number}")


def is_dead(key: str) -> bool:
    return int(key[:6]) % 17 == 5


def exit_of(key: str) -> int:
    return 1 + (int(key[:6]) % 4 == 1)


def tags(images: list[ImageRecord], shard: Shard) -> pa.Table:
    rows = [
        {"key": image.key, "etag": image.etag, "exit_stage": exit_of(image.key), "label": image.key}
        | {"shard": shard.name}
        for image in images
    ]
    return pa.Table.from_pylist(rows, schema=TAGS_SCHEMA)


def work(location: str, num_images: int, pause_s: float) -> None:
    """Tags the listing.

    Raises:
        PipelineError: as from a real run.
    """
    output = Output(location)
    output.claim(run_file(), overwrite=False)
    try:
        ledger = Ledger(output.tables(), GMACS, "run")
        results = Results(ledger, len(GMACS))
        output.mark_incomplete()
        print("started", flush=True)
        for shard in cut_shards(listing(num_images), mean_length=100):
            number, rows = ledger.open(shard)
            for start in range(0, len(rows), _CHUNK):
                _add(results, number, shard, rows[start : start + _CHUNK])
                if results.start_commit(at_once=True):
                    # None where a kill left only the dead letters to do.
                    tables = results.tables_in_progress
                    file = ledger.tag_writer.write(pa.concat_tables(tables)) if tables else None
                    results.commit(file)
                time.sleep(pause_s)
        ledger.commit(None, [], {})
        assert ledger.is_complete
        output.merge_files()
        done = ledger.totals.all_runs
        output.complete(
            Summary(
                images=ledger.totals.num_images,
                tagged=done.num_tagged,
                dead_letters=done.num_dead_letters,
                other_files=done.num_other_files,
                skipped=0,
                exits=tuple(done.exits.tolist()),
                gmacs_per_image=1.0,
                gmacs_full_depth=3.0,
                seconds=ledger.seconds_of_all_runs,
                images_per_second=None,
                out=location,
            )
        )
    finally:
        output.release()


def _add(results: Results, number: int, shard: Shard, rows: NDArray[np.int64]) -> None:
    images = [shard.images[row] for row in rows]
    is_good = np.array([not is_dead(image.key) for image in images])
    good = [image for image in images if not is_dead(image.key)]
    if good:
        origins = Origins(np.full(len(good), number), rows[is_good])
        exit_stages = np.array([exit_of(image.key) for image in good])
        results.add_predictions(tags(good, shard), origins, exit_stages)
    letters = [
        DeadLetter(image.key, image.uri, Reason.TRUNCATED, "cut", 1, shard.name, image.etag)
        for image in images
        if is_dead(image.key)
    ]
    results.add_unpredicted(number, letters)


def main() -> int:
    location, num_images, pause_s, lease_s = sys.argv[1:]
    pipeline.output.lease._LEASE_S = float(lease_s)
    pipeline.output.lease._BEAT_S = float(lease_s) / 5
    try:
        work(location, int(num_images), float(pause_s))
    except PipelineError as error:
        print(f"dvt: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
