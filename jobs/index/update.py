"""Brings an index to the newest version of `tags`, in bounded memory; may be killed anywhere.

The changes of a version are applied in ranges of keys, in order. `index.json` says which version is
complete, which one is pending, and to which key; the next call first completes that one. Where its
files are gone, as after `--overwrite` or a week, all rows are compared with the index instead.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dvt.validation import FrozenModel
from jobs.index.documents import Documents
from jobs.index.joined_vectors import JoinedVectors
from jobs.index.lance_target import LanceTarget
from jobs.index.opening import new_state, open_target, usable_state
from jobs.index.state import STATE_FILE, IndexKind, PendingVersion, write_state
from jobs.index.target import DocumentChanges, UpdateMode
from pipeline.errors import OutputFailedError, UsageError
from pipeline.output.changes import (
    RangeChanges,
    TableVersion,
    VersionGoneError,
    changes,
    num_differing_rows,
)
from pipeline.output.lease import FOLDER, Lease, newest_owner
from pipeline.output.metadata import read_run_file
from pipeline.storage import OutputStore, open_output_store

__all__ = ["IndexReport", "RowsListener", "update_index"]

logger = logging.getLogger(__name__)

_ROWS_PER_RANGE = 100_000
_CHANGES_PER_RANGE = 50_000

RowsListener = Callable[[int, int | None, float], None]
"""Receives the rows read, those to read, and the seconds since the start."""


class IndexReport(FrozenModel):
    """The JSON line of `dvt index`.

    Attributes:
        written: documents added or changed.
        removed: documents removed.
        documents: in the index; None where the index does not count them.
        tags: rows of `tags` at `version`.
        vectors: width of the vectors of each space.
        joined: vectors of other spaces that this call has joined.
        figures: those of the kind of index.
    """

    out: str
    index: str
    kind: IndexKind
    version: int
    written: int
    removed: int
    documents: int | None
    tags: int
    vectors: dict[str, int]
    recall_at_10: float | None
    joined: dict[str, int]
    seconds: float
    figures: dict[str, Any]


def update_index(
    out: str | Path,
    to: str | Path,
    kind: IndexKind,
    *,
    vectors: Sequence[str] = (),
    overwrite: bool = False,
    listener: RowsListener = lambda *_: None,
) -> IndexReport:
    """Brings an index to the newest version of an output's `tags`; creates it if it is missing.

    Args:
        out: output of `dvt tag`: a folder or `s3://bucket/prefix`; a run may be writing to it.
        to: folder or prefix of the index.
        kind: of index; that of an existing one cannot change.
        vectors: further spaces to join, each `NAME=FILES` (`joined_vectors`).
        overwrite: build it anew.
        listener: receives the progress.

    Raises:
        UsageError: `out` is no output, `to` is something else or of another output or model.
        OutputFailedError: one of them cannot be read or written.
    """
    if vectors and kind != "lancedb":
        raise UsageError(f"vectors: only an index of the format lancedb takes them (got {kind})")
    joined = [JoinedVectors.parse(text) for text in vectors]
    store = open_output_store(to)
    lease = _lease(store)
    try:
        update = _Update(open_output_store(out), store, kind, overwrite, lease, listener)
        return update.run(joined)
    finally:
        lease.release()


def _lease(store: OutputStore) -> Lease:
    names = set(store.names())
    if names - {f"{FOLDER}/"} and STATE_FILE not in names:
        raise UsageError(f"to: {store.uri} is not empty and no index of dvt; choose another --to")
    try:
        return Lease(store, uuid.uuid4().hex)
    except UsageError as error:
        raise UsageError(
            f"to: another dvt index is writing to {store.uri}; wait until it ends"
        ) from error


class _Update:
    def __init__(
        self,
        out: OutputStore,
        store: OutputStore,
        kind: IndexKind,
        overwrite: bool,
        lease: Lease,
        listener: RowsListener,
    ) -> None:
        self._started = time.monotonic()
        self._out, self._store, self._kind = out, store, kind
        self._lease, self._listener = lease, listener
        run = read_run_file(out)
        self._tags = out.child("tags")
        newest = TableVersion(self._tags)
        self._documents = Documents.of(newest, run.model)
        self._num_written = self._num_removed = 0
        usable = None if overwrite else usable_state(store, kind, out, newest, self._documents)
        self._state = usable or new_state(kind, out, newest, self._documents)
        self._is_new = self._state.applied is None and self._state.pending is None
        self._newest = newest
        self._target = open_target(store, kind, self._documents, dict(self._state.spaces))

    def run(self, vectors: Sequence[JoinedVectors]) -> IndexReport:
        """Applies what is pending, then the newest version; joins vectors computed elsewhere."""
        if self._is_new:
            self._write(applied=None, pending=None)
            self._target.clear()
        if self._documents.space is None:
            logger.info("%s has no embeddings: an index of words only", self._out.uri)
        if self._state.pending is not None:
            self._complete_pending(self._state.pending)
        self._apply_newest()
        joined = {each.name: self._join(each) for each in vectors}
        num_changed = self._num_written + self._num_removed + sum(joined.values())
        found = self._target.finish(max(num_changed, not self._state.is_finished))
        documents = found.pop("documents")
        tags = self._newest.num_rows
        is_whole = documents is None or documents == tags
        spaces = self._target.spaces
        # A wrong count makes the next call compare all rows.
        table = self._newest.identity if is_whole else ""
        self._write(spaces=spaces, table=table, is_finished=True)
        return IndexReport(
            out=self._out.uri,
            index=self._store.uri,
            kind=self._kind,
            version=self._newest.number,
            written=self._num_written,
            removed=self._num_removed,
            documents=documents,
            tags=tags,
            vectors={name: space.width for name, space in spaces.items()},
            recall_at_10=found.pop("recall_at_10", None),
            joined=joined,
            seconds=round(time.monotonic() - self._started, 3),
            figures=found,
        )

    def _join(self, vectors: JoinedVectors) -> int:
        assert isinstance(self._target, LanceTarget), "update_index has checked the kind"
        num_joined = self._target.join(vectors, lambda spaces: self._write(spaces=spaces))
        logger.info("joined %d vectors of %s", num_joined, vectors.name)
        return num_joined

    def _complete_pending(self, pending: PendingVersion) -> None:
        if self._state.table != self._newest.identity:
            return
        try:
            version = TableVersion(self._tags, pending.version)
            earlier = None
            if self._state.applied is not None and not pending.compares_all:
                earlier = TableVersion(self._tags, self._state.applied)
            self._apply(earlier, version, pending)
        except VersionGoneError as error:
            logger.info("%s; comparing all rows with the index", error)

    def _apply_newest(self) -> None:
        newest, state = self._newest, self._state
        if state.pending is None and state.table == newest.identity:
            if state.applied == newest.number:
                return
            try:
                is_first = state.applied is None
                earlier = None if is_first else TableVersion(self._tags, state.applied)
                return self._apply(earlier, newest, PendingVersion(version=newest.number))
            except VersionGoneError as error:
                logger.info("%s; comparing all rows with the index", error)
        self._apply(None, newest, PendingVersion(version=newest.number, compares_all=True))

    def _apply(
        self, earlier: TableVersion | None, later: TableVersion, pending: PendingVersion
    ) -> None:
        if not self._target.can_compare and pending.compares_all:
            raise UsageError(
                f"to: the version of tags that {self._store.uri} was made from exists no more; "
                "--overwrite writes all documents anew"
            )
        applied, mode = self._state.applied, UpdateMode.UPDATE
        if pending.compares_all:
            applied, mode = None, UpdateMode.COMPARE
        elif applied is None:
            mode = UpdateMode.FILL
        # In one step: an applied version of another table would pass for one of this table.
        self._write(
            table=self._newest.identity, applied=applied, pending=pending, is_finished=False
        )
        is_in_doubt = True
        num_read = 0
        total = num_differing_rows(earlier, later) if pending.done_to is None else None
        parts = changes(
            earlier,
            later,
            self._documents.columns,
            _ROWS_PER_RANGE,
            above=pending.done_to,
            derived=self._documents.derived,
        )
        for part in _joined(parts):
            self._check_lease()
            self._target.apply(
                DocumentChanges(
                    mode,
                    later.number,
                    pending.num_parts,
                    is_in_doubt,
                    part.above,
                    part.up_to,
                    self._documents.make(part.written),
                    part.removed,
                )
            )
            is_in_doubt = False
            self._num_written += part.written.num_rows
            self._num_removed += len(part.removed)
            num_read += part.num_read
            self._listener(num_read, total, time.monotonic() - self._started)
            pending = pending.model_copy(
                update={"done_to": part.up_to, "num_parts": pending.num_parts + 1}
            )
            if part.up_to is not None:
                self._write(pending=pending)
        self._write(applied=later.number, pending=None)

    def _check_lease(self) -> None:
        owner = newest_owner(self._store)
        if owner is None or owner.epoch != self._lease.epoch:
            raise OutputFailedError(f"to: another dvt index has taken over {self._store.uri}")

    def _write(self, **fields: object) -> None:
        self._state = self._state.model_copy(update=fields)
        write_state(self._store, self._state)


def _joined(parts: Iterator[RangeChanges]) -> Iterator[RangeChanges]:
    """Neighbouring ranges with few changes as one, so that an index gets few large commits."""
    waiting: list[RangeChanges] = []
    num_changes = 0
    for part in parts:
        waiting.append(part)
        num_changes += part.written.num_rows + len(part.removed)
        if num_changes >= _CHANGES_PER_RANGE or part.up_to is None:
            yield RangeChanges(
                waiting[0].above,
                part.up_to,
                pa.concat_tables(each.written for each in waiting),
                pa.concat_arrays([each.removed for each in waiting]),
                sum(each.num_read for each in waiting),
            )
            waiting, num_changes = [], 0
