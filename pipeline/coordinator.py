"""The coordinator: executes the scheduler's actions on Ray and reports what happened back.

It touches metadata and object references only; pixels and answers pass from actor to actor. What
must survive is in the ledger's tables; everything here can be lost.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.actors.cascade import Receipt
from pipeline.actors.decode import DecodeReceipt
from pipeline.commits import CommitQueue, Uncommitted
from pipeline.errors import Reason, Stalled, TooManyDeadLetters
from pipeline.interrupt import deferred_interrupt
from pipeline.ledger import Ledger, Tally
from pipeline.progress import Progress, ProgressListener
from pipeline.records import DeadLetter
from pipeline.scheduling import (
    DECODERS,
    Action,
    ActorAdded,
    ActorLost,
    ActorReady,
    CallFinished,
    Decode,
    Flush,
    GiveUp,
    Keep,
    Origins,
    ParcelDecoded,
    Release,
    Retire,
    Run,
    Scheduler,
    ShardArrived,
    SourceEnded,
)
from pipeline.table import WrittenFile
from pipeline.workers import Worker, Workers

__all__ = ["Actors", "Coordinator"]

_SETTLE_S = 20.0
_WRITER = Worker("writer", 0)


@dataclass(frozen=True, slots=True)
class Actors:
    """Handles of the actors; the scheduler numbers decoders first, then cascades."""

    decoders: list[Any]
    cascades: list[Any]
    writer: Any


class Coordinator:
    """Runs the work of one archive to its end.

    Args:
        scheduler: decides.
        actors: handles.
        ledger: accounts and commits.
        work: (number of an open shard, its rows without a result); consumed as needed.
        num_stages: of the cascade.
        max_dead_letters: more of them stop the run; None for no limit.
        count_images: images in the archive, None while unknown.
        listener: told about progress.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        actors: Actors,
        ledger: Ledger,
        work: Iterator[tuple[int, NDArray[np.int64]]],
        num_stages: int,
        max_dead_letters: Callable[[], int | None],
        count_images: Callable[[], int | None],
        listener: ProgressListener,
    ) -> None:
        self._scheduler = scheduler
        handles = {
            **{Worker("decoder", n): handle for n, handle in enumerate(actors.decoders)},
            **{Worker("cascade", n): handle for n, handle in enumerate(actors.cascades)},
        }
        # Position: the scheduler's number of the actor.
        self._worker_of_actor = list(handles)
        for number, worker in enumerate(handles):
            pool = DECODERS if worker.kind == "decoder" else 0
            scheduler.handle(ActorAdded(number, pool))
        self._workers = Workers(handles | {_WRITER: actors.writer}, self._on_up, self._on_lost)
        self._ledger = ledger
        self._work = work
        self._num_stages = num_stages
        self._max_dead_letters = max_dead_letters
        self._count_images = count_images
        self._listener = listener
        self._data_of_parcel: dict[int, Any] = {}
        self._commits = CommitQueue(num_stages)
        self._answered = Tally.zero(num_stages)
        self._writing: Uncommitted | None = None
        self._started = time.monotonic()

    def run(self) -> None:
        """Works until every image has a committed result.

        Raises:
            TooManyDeadLetters: more failed than allowed; all results so far are committed.
            Stalled: nothing happened for ten minutes.
            PipelineError: an actor cannot be started.
        """
        self._workers.start()
        with deferred_interrupt() as interrupted:
            try:
                while not self._is_done() and not interrupted():
                    self._take_shards()
                    for action in self._scheduler.next_actions():
                        self._execute(action)
                    self._workers.wait()
                    self._check_dead_letters()
                    self._write_if_due(at_once=self._scheduler.is_finished)
                    self._listener(self.progress())
            except (TooManyDeadLetters, Stalled):
                self._settle()
                raise
            if interrupted():
                self._settle()
                raise KeyboardInterrupt
        self._ledger.commit(None, [], {})

    def progress(self) -> Progress:
        """How far it is."""
        return Progress(
            num_images=self._count_images(),
            num_skipped=self._ledger.totals.num_skipped,
            num_tagged=self._answered.num_tagged,
            num_dead_letters=self._answered.num_dead_letters,
            exits=tuple(self._answered.exits.tolist()),
            elapsed_s=time.monotonic() - self._started,
        )

    def _is_done(self) -> bool:
        return self._scheduler.is_finished and self._commits.is_empty

    def _take_shards(self) -> None:
        while self._scheduler.wants_shards:
            item = next(self._work, None)
            if item is None:
                self._scheduler.handle(SourceEnded())
                return
            self._scheduler.handle(ShardArrived(*item))

    def _execute(self, action: Action) -> None:
        match action:
            case Decode(call, actor, parcel, shard, rows):
                source = self._ledger.shard(shard)
                images = [source.images[row] for row in rows.tolist()]
                worker = self._worker_of_actor[actor]
                decoded, receipt = self._workers.handle(worker).decode.remote(images, source.name)
                self._data_of_parcel[parcel] = decoded
                self._workers.expect(receipt, worker, partial(self._on_decoded, call, shard))
            case Run(call, actor, parcel, rows):
                worker = self._worker_of_actor[actor]
                data = self._data_of_parcel[parcel]
                table, receipt = self._workers.handle(worker).run.remote(parcel, rows, data)
                self._workers.expect(receipt, worker, partial(self._on_answers, call, table))
            case Flush(call, actor):
                worker = self._worker_of_actor[actor]
                table, receipt = self._workers.handle(worker).flush.remote()
                self._workers.expect(receipt, worker, partial(self._on_answers, call, table))
            case Release(parcel):
                self._data_of_parcel.pop(parcel, None)
            case GiveUp():
                self._give_up(action)
            case Keep() | Retire():
                raise AssertionError(f"{action}: there is one pool, and it does not drain")

    def _on_up(self, worker: Worker) -> None:
        if worker != _WRITER:
            self._scheduler.handle(ActorReady(self._worker_of_actor.index(worker)))
        elif self._writing is not None and not self._workers.owes(worker):
            self._write(self._writing)  # a loss has taken the first call with it

    def _on_lost(self, worker: Worker) -> None:
        if worker != _WRITER:
            self._scheduler.handle(ActorLost(self._worker_of_actor.index(worker)))

    def _on_decoded(self, call: int, shard: int, receipt: DecodeReceipt) -> None:
        self._bury(shard, receipt.dead_letters)
        self._scheduler.handle(ParcelDecoded(call, np.array(receipt.decoded_rows, dtype=np.int64)))

    def _on_answers(self, call: int, table: Any, receipt: Receipt) -> None:
        assert self._scheduler.is_open(call), "answers from before a loss are dropped with it"
        finished = {parcel: rows for parcel, (rows, _) in receipt.answered.items()}
        exits_of_shard: dict[int, NDArray[np.int64]] = {}
        for number, (rows, exit_stages) in receipt.answered.items():
            shards = self._scheduler.origins(number, rows).shards
            for shard in np.unique(shards).tolist():
                leaving = exit_stages[shards == shard]
                exits = np.bincount(leaving - 1, minlength=self._num_stages)
                exits_of_shard[shard] = exits_of_shard.get(shard, 0) + exits
                self._answered.exits += exits
        if receipt.answered:
            self._commits.add_answers(table, exits_of_shard)
        for number, row, detail in receipt.failed:
            origins = self._scheduler.origins(number, np.array([row]))
            self._bury_one(origins, Reason.MODEL_FAILED, detail, attempts=1)
            finished[number] = np.append(finished.get(number, np.empty(0, np.int64)), row)
        self._scheduler.handle(CallFinished(call, finished))

    def _give_up(self, image: GiveUp) -> None:
        reason = Reason.UNREADABLE if image.pool == DECODERS else Reason.MODEL_FAILED
        detail = f"its actor died {image.attempts} times while it held this image"
        origins = Origins(np.array([image.shard]), np.array([image.row]))
        self._bury_one(origins, reason, detail, image.attempts)

    def _bury_one(self, origins: Origins, reason: Reason, detail: str, attempts: int) -> None:
        number, row = int(origins.shards[0]), int(origins.rows[0])
        shard = self._ledger.shard(number)
        image = shard.images[row]
        letter = DeadLetter(image.key, image.uri, reason, detail, attempts, shard.name)
        self._bury(number, [letter])

    def _bury(self, shard: int, letters: list[DeadLetter]) -> None:
        self._answered.num_dead_letters += len(letters)
        self._commits.add_letters(shard, letters)

    def _check_dead_letters(self) -> None:
        allowed = self._max_dead_letters()
        if allowed is not None and self._answered.num_dead_letters > allowed:
            raise TooManyDeadLetters(
                f"max-errors: {self._answered.num_dead_letters} images failed, "
                f"at most {allowed} may; see the dead_letters table"
            )

    def _write_if_due(self, at_once: bool) -> None:
        batch = self._commits.take(time.monotonic(), at_once)
        if batch is None:
            return
        if batch.tables:
            self._writing = batch
            self._write(batch)
        else:
            self._commit(batch, None)

    def _write(self, batch: Uncommitted) -> None:
        """Writing again after a loss does no harm: a file without a commit is invisible."""
        written = self._workers.handle(_WRITER).write.remote(*batch.tables)
        self._workers.expect(written, _WRITER, partial(self._on_written, batch))

    def _on_written(self, batch: Uncommitted, file: WrittenFile) -> None:
        self._writing = None
        self._commit(batch, file)

    def _commit(self, batch: Uncommitted, file: WrittenFile | None) -> None:
        self._ledger.commit(file, batch.letters, batch.tallies)
        self._commits.committed()

    def _settle(self) -> None:
        """Commits what is answered before an early end, so that it need not be done again."""
        deadline = time.monotonic() + _SETTLE_S
        self._workers.expect_only(_WRITER)
        while not self._commits.is_empty and time.monotonic() < deadline:
            self._write_if_due(at_once=True)
            self._workers.wait()
