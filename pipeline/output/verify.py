"""Checks an output completely, in bounded memory, and changes nothing.

- Every committed file exists, has the size, rows and order that the log states, and can be read.
- A key has one row, in one of the tables.
- `shards` counts what the tables hold; so do `summary.json` and `_SUCCESS` of a finished output.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from pydantic import BaseModel, ConfigDict

from pipeline.errors import OutputFailedError, UsageError
from pipeline.output.delta_log import num_rows, open_delta
from pipeline.output.key_digests import KeyDigests
from pipeline.output.layout import OVERWRITING
from pipeline.output.lease import newest_owner
from pipeline.output.metadata import Summary, read_completion, read_run_file, read_summary
from pipeline.output.repair import difference
from pipeline.output.table_files import check_file
from pipeline.output.tables import COUNT_COLUMNS, SORT_COLUMNS
from pipeline.storage import OutputStore, open_output_store, output_failures

__all__ = ["Verification", "verify_output"]

_MAX_LINES = 20


class Verification(BaseModel):
    """What an output holds, and what is wrong with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    out: str
    finished: bool
    rows: dict[str, int]
    problems: tuple[str, ...]


def verify_output(location: str | Path) -> Verification:
    """Checks an output that no run is writing to.

    Args:
        location: a folder, or `s3://bucket/prefix`.

    Raises:
        UsageError: it is no output of dvt, or a run is writing to it.
        OutputFailedError: the storage cannot be read.
    """
    store = open_output_store(location)
    read_run_file(store)
    owner = newest_owner(store)
    if owner is not None and owner.is_alive(store):
        raise UsageError(
            f"out: a run is writing to {store.uri} (process {owner.pid} on {owner.host}); verify "
            "it when the run has ended"
        )
    tables = {name: open_delta(store.child(name)) for name in SORT_COLUMNS}
    is_finished = store.read("_SUCCESS") is not None
    problems = []
    if store.read(OVERWRITING) is not None:
        problems.append("an --overwrite is unfinished: dvt tag finishes it")
    with KeyDigests() as digests:
        for name, delta in tables.items():
            if delta is not None:
                problems += _check_files(store.child(name), name, delta, digests)
            elif is_finished:
                problems.append(f"{name}: there is no such table")
        repeated = digests.repeated(_keys(store, tables))
        problems += _shortened([_repetition(*found) for found in repeated])
    problems += _check_counts(store, tables, is_finished)
    return Verification(
        out=store.uri,
        finished=is_finished,
        rows={name: num_rows(delta) if delta else 0 for name, delta in tables.items()},
        problems=tuple(problems),
    )


def _check_files(
    store: OutputStore, name: str, delta: DeltaTable, digests: KeyDigests
) -> list[str]:
    problems = []
    with output_failures(store.uri):
        files = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    for file in files:
        try:
            for keys in check_file(store, file, SORT_COLUMNS[name]):
                digests.add(name, keys)
        except (OutputFailedError, pa.ArrowException, OSError) as error:
            line = " ".join(str(error).split())[:300]
            problems.append(f"{name}: {file['path']}: {line}")
    return _shortened(problems)


def _keys(store: OutputStore, tables: dict[str, DeltaTable | None]) -> Any:
    """Name and keys of each batch of each readable file, again."""
    for name, delta in tables.items():
        for file in pa.table(delta.get_add_actions(flatten=True)).to_pylist() if delta else ():
            try:
                for keys in check_file(store.child(name), file, SORT_COLUMNS[name]):
                    yield name, keys
            except (OutputFailedError, pa.ArrowException, OSError):
                continue


def _repetition(key: str, tables: list[str]) -> str:
    places = " and ".join(dict.fromkeys(tables))
    return f"{places}: {key} has {len(tables)} rows"


def _check_counts(
    store: OutputStore, tables: dict[str, DeltaTable | None], is_finished: bool
) -> list[str]:
    problems = []
    counted = _shard_counts(tables["shards"])
    if counted is None:
        return ["shards: cannot be read, so nothing was compared with it"]
    if counted["wrong"]:
        problems.append(f"shards: {counted['wrong']} rows whose counts do not add up")
    for name in COUNT_COLUMNS:
        delta = tables[name]
        rows = num_rows(delta) if delta else 0
        if counted[name] > rows:
            problems.append(f"shards: counts {counted[name]:,} rows of {name}, which has {rows:,}")
    if not is_finished:
        return problems
    completion = read_completion(store)
    if completion is None:
        problems.append("_SUCCESS: cannot be read")
    for name, recorded in completion.tables.items() if completion else ():
        delta = tables.get(name)
        found = "is missing" if delta is None else difference(delta, recorded)
        problems += [f"_SUCCESS: {name} {found}"] if found else []
    return problems + _check_summary(store, counted)


def _shard_counts(delta: DeltaTable | None) -> dict[str, Any] | None:
    """Sums over all finished shards; None if they cannot be read."""
    if delta is None:
        return {**dict.fromkeys(COUNT_COLUMNS, 0), "images": 0, "wrong": 0}
    columns = ["num_images", "exits", *COUNT_COLUMNS.values()]
    try:
        rows = delta.to_pyarrow_dataset().to_table(columns=columns)
    except (OSError, pa.ArrowException):
        return None
    images = rows["num_images"].to_numpy()
    counts = {name: rows[column].to_numpy() for name, column in COUNT_COLUMNS.items()}
    exits = np.array([sum(lists) for lists in rows["exits"].to_pylist()], dtype=np.int64)
    is_wrong = (images != sum(counts.values())) | (exits != counts["tags"])
    return {
        **{name: int(values.sum()) for name, values in counts.items()},
        "images": int(images.sum()),
        "wrong": int(is_wrong.sum()),
    }


def _check_summary(store: OutputStore, counted: dict[str, Any]) -> list[str]:
    try:
        summary: Summary | None = read_summary(store)
    except UsageError as error:
        return [f"summary.json: {error}"]
    if summary is None:
        return ["summary.json: is missing"]
    pairs = {
        "images": (summary.images, counted["images"]),
        "tags": (summary.tagged, counted["tags"]),
        "dead letters": (summary.dead_letters, counted["dead_letters"]),
        "other files": (summary.other_files, counted["other_files"]),
        "tags, by exit": (sum(summary.exits), counted["tags"]),
    }
    return [
        f"summary.json: {said:,} {what}, but shards count {found:,}"
        for what, (said, found) in pairs.items()
        if said != found
    ]


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MAX_LINES
    return lines if more <= 0 else [*lines[:_MAX_LINES], f"... and {more:,} more of this kind"]
