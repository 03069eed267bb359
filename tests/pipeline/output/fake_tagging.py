"""`dvt tag` and `dvt retry` at given thresholds without Ray, model or images, on a real output.

The key gives the confidence at exit 1: "a3" has 0.3. Exit 2 takes all.
"""

from collections.abc import Set
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from numpy.typing import NDArray

from pipeline.errors import Reason
from pipeline.file_kinds import FileKind
from pipeline.output.counts import Counts
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.output.metadata import Summary
from pipeline.output.retag import TagRequirements
from pipeline.records import TAGS_SCHEMA, DeadLetter, ImageRecord, OtherFile
from pipeline.sources.sharding import Shard, cut_shards
from tests.command_line import rows as rows_by_duckdb
from tests.pipeline.output.fake_run import GMACS, run_file

KEYS = ("a1", "b9", "c5", "d9", "e9", "f9", "g3", "h5", "i9")
DEAD = {"d9", "h5"}


def confidence_of(key: str) -> float:
    return int(key[1]) / 10


def exit_at(key: str, threshold: float) -> int:
    return 1 if confidence_of(key) >= threshold else 2


def shards_of(keys: tuple[str, ...] = KEYS) -> list[Shard]:
    images = [ImageRecord(key, f"file:///{key}", 1, "e") for key in keys]
    return list(cut_shards(images, mean_length=10**9, max_length=5))


def tag_table(images: list[ImageRecord], shard: str, threshold: float, run: str) -> pa.Table:
    rows = [
        {
            "key": image.key,
            "etag": image.etag,
            "exit_stage": (stage := exit_at(image.key, threshold)),
            "exit_confidences": [confidence_of(image.key), 0.05][:stage],
            "gmacs": GMACS[stage - 1],
            "label": run,
            "shard": shard,
        }
        for image in images
    ]
    return pa.Table.from_pylist(rows, schema=TAGS_SCHEMA)


def work_off(
    ledger: Ledger, shards: list[Shard], threshold: float, run: str, dead: set[str]
) -> list[str]:
    """Does what is to do, in two commits a shard; returns the keys."""
    done: list[str] = []
    for shard in shards:
        done += do_shard(ledger, shard, *ledger.open(shard), threshold, run, dead)
    ledger.commit(None, [], {})
    return done


def do_shard(
    ledger: Ledger,
    shard: Shard,
    number: int,
    rows: NDArray[np.int64],
    threshold: float,
    run: str,
    dead: set[str],
    others: Set[str] = frozenset(),
) -> list[str]:
    """Does the rows of one open shard in two commits; returns the keys."""
    done: list[str] = []
    for part in np.array_split(rows, 2):
        images = [shard.images[row] for row in part]
        if not images:
            continue
        done += [image.key for image in images]
        good = [image for image in images if image.key not in dead | others]
        exits = np.bincount([exit_at(i.key, threshold) - 1 for i in good], minlength=2)
        letters = [
            DeadLetter(i.key, i.uri, Reason.FETCH_FAILED, run, 1, shard.name, i.etag)
            for i in images
            if i.key in dead
        ]
        no_pictures = [
            OtherFile(i.key, i.uri, FileKind.TEXT, i.size_bytes, shard.name, i.etag)
            for i in images
            if i.key in others - dead
        ]
        table = tag_table(good, shard.name, threshold, run)
        file = ledger.tag_writer.write(table) if good else None
        counts = Counts(exits, len(letters), num_other_files=len(no_pictures))
        ledger.commit(file, [*letters, *no_pictures], {number: counts})
    return done


def tag(
    folder: Path,
    threshold: float,
    run: str,
    keys: tuple[str, ...] = KEYS,
    dead: set[str] = DEAD,
    retry: tuple[Reason, ...] | None = None,
) -> tuple[list[str], Ledger]:
    """`dvt tag` (or `dvt retry`) without a model; returns the keys of the images it did."""
    return run_job(folder, shards_of(keys), threshold, run, dead, retry)


def run_job(
    folder: Path,
    shards: list[Shard],
    threshold: float,
    run: str,
    dead: set[str],
    retry: tuple[Reason, ...] | None = None,
    overwrite: bool = False,
    others: Set[str] = frozenset(),
) -> tuple[list[str], Ledger]:
    """The same for a listing with etags, in the steps of `pipeline.job`."""
    output = Output(folder)
    claimed = output.claim(run_file(thresholds=(threshold,)), overwrite)
    try:
        retag_finished = claimed.satisfied_thresholds is not None
        ledger = Ledger(
            output.tables(), GMACS, run, retry, TagRequirements((threshold,)), retag_finished
        )
        opened = ((shard, *ledger.open(shard)) for shard in shards)
        first = next((item for item in opened if len(item[2])), None)
        done: list[str] = []
        if first is not None or ledger.totals.num_left:
            output.mark_incomplete()
        if first is not None:
            for item in chain([first], opened):
                done += do_shard(ledger, *item, threshold, run, dead, others)
        ledger.commit(None, [], {})
        assert ledger.is_complete
        if retry is None:
            ledger.remove_unlisted_shards()
        output.merge_files()
        all_runs = ledger.totals.all_runs
        summary = Summary(
            images=ledger.totals.num_images,
            tagged=all_runs.num_tagged,
            dead_letters=all_runs.num_dead_letters,
            other_files=all_runs.num_other_files,
            skipped=0,
            exits=tuple(all_runs.exits.tolist()),
            gmacs_per_image=None,
            gmacs_full_depth=GMACS[-1],
            seconds=0.0,
            images_per_second=None,
            out=str(folder),
        )
        is_whole = ledger.totals.num_left == 0
        output.complete(summary, is_whole and (retry is None or not retag_finished))
    finally:
        output.release()
    return done, ledger


def tags_in(folder: Path) -> dict[str, tuple[str, int]]:
    """Key to run and exit, by DuckDB; fails on duplicate keys."""
    found = rows_by_duckdb(folder / "tags")
    assert len({row["key"] for row in found}) == len(found), "duplicate keys"
    return {row["key"]: (row["label"], row["exit_stage"]) for row in found}


def check_is_whole(folder: Path, threshold: float, dead: set[str] = DEAD) -> None:
    """The tables and sums are those of a fresh run with these thresholds."""
    tags = tags_in(folder)
    assert {key: stage for key, (_, stage) in tags.items()} == {
        key: exit_at(key, threshold) for key in KEYS if key not in dead
    }
    assert {row["key"] for row in rows_by_duckdb(folder / "dead_letters")} == dead
    shards = rows_by_duckdb(folder / "shards")
    assert sorted(row["shard"] for row in shards) == sorted(shard.name for shard in shards_of())
    exits = np.array([row["exits"] for row in shards]).sum(axis=0).tolist()
    stages = [stage for _, stage in tags.values()]
    assert exits == [stages.count(1), stages.count(2)]
    assert sum(row["gmacs"] for row in shards) == sum(GMACS[stage - 1] for stage in stages)
    summary = Summary.model_validate_json((folder / "summary.json").read_bytes())
    assert list(summary.exits) == exits
    assert (summary.tagged, summary.dead_letters) == (len(tags), len(dead))
    assert (folder / "_SUCCESS").exists()
    assert Output(folder).run_file().satisfied_thresholds is None


def check_every_version(folder: Path) -> None:
    """No version of `tags` has duplicate keys."""
    newest = DeltaTable(folder / "tags").version()
    for version in range(newest + 1):
        keys = DeltaTable(folder / "tags", version=version).to_pyarrow_table()["key"].to_pylist()
        assert len(keys) == len(set(keys)), f"version {version}"
