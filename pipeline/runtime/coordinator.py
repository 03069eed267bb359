"""The coordinator: executes the scheduler's actions on Ray and reports the outcome.

It handles metadata and object references only; pixels, states and predictions pass from actor to
actor. Whatever must survive a crash is in the ledger's tables.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.deadline.controller import DeadlineController
from pipeline.dedupe.fanout import PredictionFanout
from pipeline.errors import OutputFailedError, PipelineError, Reason, StaleEpochError
from pipeline.output.results import Results, ShardRows
from pipeline.progress import Progress, ProgressListener
from pipeline.runtime.actor_pools import ActorPools, ActorPoolSpecs
from pipeline.runtime.actors.cascade import CallResult
from pipeline.runtime.actors.decode import DecodeResult
from pipeline.runtime.nodes import DrainingNodes
from pipeline.runtime.result_writer import ResultWriter
from pipeline.runtime.signals import deferred_interrupt
from pipeline.runtime.supervised_actor import (
    ActorDown,
    ActorGone,
    ActorUp,
    CallReturned,
    Event,
    InputLost,
)
from pipeline.runtime.supervisor import ActorSupervisor
from pipeline.runtime.worklist import Worklist
from pipeline.scheduling import (
    DECODERS,
    Action,
    BlockDecoded,
    CallFinished,
    Decode,
    Flush,
    Forwarded,
    GiveUp,
    Keep,
    ObjectLost,
    Origins,
    Release,
    Retire,
    Rows,
    Run,
    Scheduler,
    ShardArrived,
    SourceEnded,
)

__all__ = ["Coordinator"]

logger = logging.getLogger(__name__)

_LISTING_S = 0.05  # upper bound per turn: a listing may pass many shards that are finished
_EXTRA_S_PER_IMAGE = 5.0  # for a storage that throttles, or files that take long to decode
_NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _CascadeCall:
    """A call of a cascade actor, with references to its two large results."""

    action: Run | Flush
    tags: Any
    forwarded: Any


class Coordinator:
    """Starts the actors and runs the work of one archive to its end.

    Args:
        scheduler: decides what to do next.
        specs: the actors.
        worklist: the shards to do.
        results: collects and commits the outcomes of files.
        listener: gets the progress several times a second.
        fanout: shares predictions among images with identical bytes; None computes each image.
        deadline: chooses the thresholds of each call; None uses those of the job.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        specs: ActorPoolSpecs,
        worklist: Worklist,
        results: Results,
        listener: ProgressListener,
        fanout: PredictionFanout | None = None,
        deadline: DeadlineController | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._worklist = worklist
        self._results = results
        self._listener = listener
        self._fanout = fanout
        self._deadline = deadline
        self._supervisor = ActorSupervisor(specs.stalled_s)
        self._pools = ActorPools(specs, self._supervisor, scheduler, DrainingNodes().names)
        self._pools.start()
        self._writer = ResultWriter(specs.writer, self._supervisor, results)
        self._data_of_block: dict[int, Any] = {}
        self._forwarded_of_call: dict[int, Any] = {}
        self._started_s = time.monotonic()

    def run(self) -> None:
        """Works until every image has a committed result.

        Raises:
            TooManyDeadLettersError: more images failed than allowed.
            PipelineError: a needed actor does not start, or a storage denies access. Results so far
                are committed if possible.
        """
        with deferred_interrupt() as is_interrupted:
            try:
                while not self._is_done() and not is_interrupted():
                    self._turn()
            except (StaleEpochError, OutputFailedError):
                raise  # nothing more can be committed
            except PipelineError:
                self._writer.settle()
                raise
            if is_interrupted():
                self._writer.settle()
                raise KeyboardInterrupt
        self._results.finish()

    def _is_done(self) -> bool:
        return self._scheduler.is_finished and self._results.are_committed

    def _turn(self) -> None:
        self._take_shards()
        if self._deadline is not None:
            num_done = self._results.counts.num_done
            self._deadline.plan(self._worklist.num_to_do, num_done, self._scheduler.load)
        for action in self._scheduler.next_actions():
            self._execute(action)
        for event in self._supervisor.wait():
            self._handle(event)
        self._pools.adjust()
        self._worklist.check_dead_letters(self._results.counts)
        self._writer.commit_if_due(at_once=self._scheduler.is_finished)
        self._listener(self._progress())

    def _take_shards(self) -> None:
        until_s = time.monotonic() + _LISTING_S
        while (
            self._scheduler.wants_shards
            and not self._results.are_behind
            and time.monotonic() < until_s
        ):
            try:
                item = next(self._worklist)
            except StopIteration:
                self._scheduler.handle(SourceEnded())
                return
            if item is None:
                return
            self._scheduler.handle(ShardArrived(*item))

    def _execute(self, action: Action) -> None:
        match action:
            case Decode():
                self._decode(action)
            case Run(call, actor, block, rows):
                run = self._pools.actor(actor).handle.run
                data = self._data_of_block[block]
                results = run.remote(block, rows, data, *self._thresholds(call))
                self._expect_cascade(action, results, _described(block, rows))
            case Flush(call, actor):
                results = self._pools.actor(actor).handle.flush.remote(*self._thresholds(call))
                self._expect_cascade(action, results, "a flush of its partial batches")
            case Keep(block, call):
                self._data_of_block[block] = self._forwarded_of_call.pop(call)
            case Release(block):
                self._data_of_block.pop(block, None)
            case GiveUp(shard, row, attempts, pool):
                self._give_up(Origins(np.array([shard]), np.array([row])), attempts, pool)
            case Retire(actor):
                self._pools.retire(actor)

    def _decode(self, action: Decode) -> None:
        shard = self._worklist.shard(action.shard)
        images = [shard.images[row] for row in action.rows.tolist()]
        actor = self._pools.actor(action.actor)
        decoded, result = actor.handle.decode.remote(images, shard.name)
        self._data_of_block[action.block] = decoded
        description = _described(action.block, action.rows)
        extra_s = _EXTRA_S_PER_IMAGE * len(images)
        self._supervisor.expect(result, actor, action, description, extra_s=extra_s)

    def _expect_cascade(
        self, action: Run | Flush, results: tuple[Any, Any, Any], description: str
    ) -> None:
        tags, forwarded, result = results
        self._supervisor.expect(
            result,
            self._pools.actor(action.actor),
            _CascadeCall(action, tags, forwarded),
            description,
            has_input=isinstance(action, Run),
        )

    def _thresholds(self, call: int) -> tuple[tuple[float, ...], ...]:
        """The last argument of a call; empty if the job's thresholds apply."""
        return () if self._deadline is None else (self._deadline.start_call(call),)

    def _handle(self, event: Event) -> None:
        if self._writer.concerns(event):
            self._restart(self._writer.handle(event))
            return
        match event:
            case CallReturned(Decode() as action, result):
                self._finish_decode(action, result)
            case CallReturned(_CascadeCall() as call, result):
                self._finish_cascade(call, result)
            case InputLost(_CascadeCall(Run(call, _, block, _))):
                logger.warning(
                    "lost the data of block %d; its images restart from their source", block
                )
                self._scheduler.handle(ObjectLost(block, call))
            case ActorUp() | ActorDown() | ActorGone():
                self._pools.handle(event)

    def _finish_decode(self, action: Decode, result: DecodeResult) -> None:
        self._results.add_unpredicted(action.shard, result.unpredicted)
        decoded, skipped = np.array(result.decoded_rows, dtype=np.int64), _NO_ROWS
        if self._fanout is not None:
            skipped, restarted = self._fanout.decoded(
                action.shard, action.rows, result.decoded_rows, result.digests
            )
            self._restart(restarted)
        self._scheduler.handle(BlockDecoded(action.call, decoded, skipped))

    def _finish_cascade(self, call: _CascadeCall, result: CallResult) -> None:
        number = call.action.call
        assert self._scheduler.is_in_flight(number), "a failure must drop the calls before it"
        pool = self._pools.pool_of(call.action.actor)
        self._pools.record_work(pool, result)
        if self._deadline is not None:
            self._deadline.finish_call(number, call.action.actor, pool, result.work, result.waiting)
        finished = {block: rows for block, (rows, _) in result.predicted.items()}
        if finished:
            origins = Origins.join([self._scheduler.origins(*rows) for rows in finished.items()])
            exit_stages = np.concatenate([stages for _, stages in result.predicted.values()])
            self._results.add_predictions(call.tags, origins, exit_stages)
            if self._fanout is not None:
                packed = (prediction for block in finished for prediction in result.packed[block])
                self._fanout.predicted(origins, packed)
        for block, row, detail in result.failed:
            self._fail(self._scheduler.origins(block, np.array([row])), detail, attempts=1)
            finished[block] = np.append(finished.get(block, _NO_ROWS), row)
        forwarded = None
        if result.forwarded:
            forwarded = Forwarded(result.forwarded, result.forwarded_bytes)
            self._forwarded_of_call[number] = call.forwarded
        self._scheduler.handle(CallFinished(number, finished, forwarded))

    def _give_up(self, origins: Origins, attempts: int, pool: int) -> None:
        detail = f"its actor died {attempts} times while it held this image"
        if pool != DECODERS:
            self._fail(origins, detail, attempts)
            return
        self._results.record_dead_letter(origins, Reason.UNREADABLE, detail, attempts)
        if self._fanout is not None:
            self._restart(self._fanout.unreadable(origins))

    def _fail(self, origins: Origins, detail: str, attempts: int) -> None:
        self._results.record_dead_letter(origins, Reason.MODEL_FAILED, detail, attempts)
        if self._fanout is not None:
            self._fanout.failed(origins, detail, attempts)

    def _restart(self, images: ShardRows) -> None:
        for shard, rows in images:
            self._scheduler.handle(ShardArrived(shard, rows))

    def _progress(self) -> Progress:
        counts = self._results.counts
        return Progress(
            num_images=self._worklist.num_images,
            num_skipped=self._worklist.num_skipped,
            num_tagged=counts.num_tagged,
            num_dead_letters=counts.num_dead_letters,
            num_other_files=counts.num_other_files,
            exits=tuple(counts.exits.tolist()),
            elapsed_s=time.monotonic() - self._started_s,
        )


def _described(block: int, rows: Rows) -> str:
    return f"{len(rows)} images (block {block})"
