"""The progress of an output, read from its files while a run may be writing to it."""

import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline.output.delta_log import num_rows, open_delta
from pipeline.output.lease import newest_owner
from pipeline.output.metadata import read_completion, read_run_file
from pipeline.output.repair import difference
from pipeline.output.tables import SORT_COLUMNS
from pipeline.storage import open_output_store, output_failures

__all__ = ["OutputStatus", "read_status"]


class OutputStatus(BaseModel):
    """The progress of an output at one moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    out: str
    running: Annotated[bool, Field(description="a run sent a heartbeat within the last minute")]
    finished: Annotated[bool, Field(description="every file of the archive has an outcome")]
    tagged: int
    dead_letters: int
    other_files: Annotated[int, Field(description="files that are no pictures")]
    shards: Annotated[int, Field(description="finished shards, of earlier listings too")]
    last_commit_age_s: float | None
    epoch: Annotated[int, Field(description="runs so far, retries included")]
    host: Annotated[str | None, Field(description="of the last run")]
    pid: Annotated[int | None, Field(description="of the last run")]


def read_status(location: str | Path) -> OutputStatus:
    """Reads the progress from the tables' logs, without reading rows.

    Args:
        location: a folder, or `s3://bucket/prefix`.

    Raises:
        UsageError: it is no output of dvt.
        OutputFailedError: the storage cannot be read.
    """
    store = open_output_store(location)
    read_run_file(store)
    rows, commits_ms = dict[str, int](), []
    completion = read_completion(store)
    is_finished = completion is not None
    for name in SORT_COLUMNS:
        delta = open_delta(store.child(name))
        if delta is None:
            rows[name] = 0
            is_finished = False
            continue
        with output_failures(store.uri):
            last = next(iter(delta.history(1)), {})
        rows[name] = num_rows(delta)
        if completion is not None and name in completion.tables:
            is_finished &= difference(delta, completion.tables[name]) is None
        if rows[name] and "timestamp" in last:
            commits_ms.append(last["timestamp"])
    owner = newest_owner(store)
    age_s = max(0.0, time.time() - max(commits_ms) / 1000) if commits_ms else None
    return OutputStatus(
        out=store.uri,
        running=owner is not None and owner.is_alive(store),
        finished=is_finished,
        tagged=rows["tags"],
        dead_letters=rows["dead_letters"],
        other_files=rows["other_files"],
        shards=rows["shards"],
        last_commit_age_s=None if age_s is None else round(age_s, 1),
        epoch=0 if owner is None else owner.epoch,
        host=None if owner is None else owner.host,
        pid=None if owner is None else owner.pid,
    )
