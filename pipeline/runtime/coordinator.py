"""The coordinator: executes the scheduler's actions on Ray and reports what happened back.

It touches metadata and object references only; pixels, states and answers pass from actor to
actor. What must survive is in the ledger's tables; everything here can be lost.
"""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.deadline.controller import DeadlineController
from pipeline.dedupe.fanout import SharedAnswers
from pipeline.errors import (
    OutputFailedError,
    PipelineError,
    Reason,
    StaleEpochError,
    TooManyDeadLettersError,
)
from pipeline.output.ledger import Ledger
from pipeline.output.results import Results
from pipeline.progress import Progress, ProgressListener
from pipeline.runtime.actor_pools import ActorPools
from pipeline.runtime.actors.cascade import CallResult
from pipeline.runtime.actors.decode import DecodeResult
from pipeline.runtime.signals import deferred_interrupt
from pipeline.runtime.team import ActorPoolSpecs
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
    Run,
    Scheduler,
    ShardArrived,
    SourceEnded,
)

__all__ = ["Coordinator"]

logger = logging.getLogger(__name__)

_SETTLE_S = 20.0
_LISTING_S = 0.05  # in one turn
_PATIENCE_PER_IMAGE_S = 5.0  # with a storage that throttles, or files that take long to decode

Rows = NDArray[np.int64]


class Coordinator:
    """Runs the work of one archive to its end.

    Args:
        scheduler: decides.
        specs: the actors.
        ledger: accounts and commits.
        work: (number of an open shard, its rows without a result), or None where the next is not
            known yet; consumed as needed.
        num_stages: of the cascade.
        max_dead_letters: more of them stop the run; None for no limit.
        count_images: images in the archive, None while unknown.
        listener: told about progress.
        stalled_s: an actor that owes an answer and says nothing for so long is started anew.
        sharing: of answers among images with identical bytes; None if each is computed.
        deadline: gives every call its thresholds; None if they are the job's throughout.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        specs: ActorPoolSpecs,
        ledger: Ledger,
        work: Iterator[tuple[int, Rows] | None],
        num_stages: int,
        max_dead_letters: Callable[[], int | None],
        count_images: Callable[[], int | None],
        listener: ProgressListener,
        stalled_s: float = 300.0,
        sharing: SharedAnswers | None = None,
        deadline: DeadlineController | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._ledger = ledger
        self._work = work
        self._max_dead_letters = max_dead_letters
        self._count_images = count_images
        self._listener = listener
        self._actor_pools = ActorPools(
            scheduler, specs, stalled_s, lambda: self._results.write_again()
        )
        self._results = Results(ledger, num_stages, self._actor_pools.write, self._list_again)
        self._sharing = sharing
        if sharing is not None:
            sharing.join(ledger, self._results, self._list_again)
        self._deadline = deadline
        self._data_of_block: dict[int, Any] = {}
        self._hard_of_call: dict[int, Any] = {}
        self._started = time.monotonic()

    def run(self) -> None:
        """Works until every image has a committed result.

        Raises:
            TooManyDeadLettersError: more failed than allowed.
            PipelineError: an actor that is needed does not come up, or a storage is denied. What
                is answered by then is committed, if that can be.
        """
        self._actor_pools.start()
        with deferred_interrupt() as interrupted:
            try:
                while not self._is_done() and not interrupted():
                    self._take_shards()
                    self._keep_to_deadline()
                    for action in self._scheduler.next_actions():
                        self._execute(action)
                    self._actor_pools.look_after()
                    self._check_dead_letters()
                    self._results.write_if_due(at_once=self._scheduler.is_finished)
                    self._listener(self.progress())
            except (StaleEpochError, OutputFailedError):
                raise  # nothing more can be committed
            except PipelineError:
                self._settle()
                raise
            if interrupted():
                self._settle()
                raise KeyboardInterrupt
        self._ledger.commit(None, [], {})

    def progress(self) -> Progress:
        """How far it is."""
        answered = self._results.answered
        return Progress(
            num_images=self._count_images(),
            num_skipped=self._ledger.totals.num_skipped,
            num_tagged=answered.num_tagged,
            num_dead_letters=answered.num_dead_letters,
            exits=tuple(answered.exits.tolist()),
            elapsed_s=time.monotonic() - self._started,
        )

    def _is_done(self) -> bool:
        return self._scheduler.is_finished and self._results.are_committed

    def _take_shards(self) -> None:
        """Not for long: a listing may go through many shards that are finished already."""
        until_s = time.monotonic() + _LISTING_S
        while (
            self._scheduler.wants_shards
            and not self._results.are_behind
            and time.monotonic() < until_s
        ):
            try:
                item = next(self._work)
            except StopIteration:
                self._scheduler.handle(SourceEnded())
                return
            if item is None:
                return
            self._scheduler.handle(ShardArrived(*item))

    def _keep_to_deadline(self) -> None:
        if self._deadline is not None:
            num_images, num_done = self._count_images(), self._results.answered.num_done
            num_to_do = None if num_images is None else self._ledger.totals.num_to_do(num_images)
            self._deadline.plan(num_to_do, num_done, self._scheduler.load)

    def _thresholds(self, call: int) -> tuple[tuple[float, ...], ...]:
        """Of a call, as its last argument; none where they are the job's."""
        return () if self._deadline is None else (self._deadline.thresholds(call),)

    def _list_again(self, shard: int, rows: Rows) -> None:
        self._scheduler.handle(ShardArrived(shard, rows))

    def _execute(self, action: Action) -> None:
        match action:
            case Decode(call, actor, block, shard, rows):
                self._decode(call, actor, block, shard, rows)
            case Run(call, actor, block, rows):
                data = self._data_of_block[block]
                run = self._actor_pools.handle(actor).run
                answer = run.remote(block, rows, data, *self._thresholds(call))
                lost = partial(self._on_block_lost, block, call)
                self._expect_answers(call, actor, answer, lambda: _named(block, rows), lost)
            case Flush(call, actor):
                answer = self._actor_pools.handle(actor).flush.remote(*self._thresholds(call))
                self._expect_answers(call, actor, answer, lambda: "what is still inside", None)
            case Keep(block, call):
                self._data_of_block[block] = self._hard_of_call.pop(call)
            case Release(block):
                self._data_of_block.pop(block, None)
            case GiveUp(shard, row, attempts, pool):
                reason = Reason.UNREADABLE if pool == DECODERS else Reason.MODEL_FAILED
                detail = f"its actor died {attempts} times while it held this image"
                origins = Origins(np.array([shard]), np.array([row]))
                self._results.record_dead_letter(origins, reason, detail, attempts)
                if self._sharing is not None and pool == DECODERS:
                    self._sharing.unread(origins)
                elif self._sharing is not None:
                    self._sharing.failed(origins, reason, detail, attempts)
            case Retire(actor):
                self._actor_pools.retire(actor)

    def _decode(self, call: int, actor: int, block: int, shard: int, rows: Rows) -> None:
        source = self._ledger.shard(shard)
        images = [source.images[row] for row in rows.tolist()]
        decoded, result = self._actor_pools.handle(actor).decode.remote(images, source.name)
        self._data_of_block[block] = decoded
        on_answer = partial(self._on_decoded, call, shard, rows)
        patience_s = _PATIENCE_PER_IMAGE_S * len(images)
        what = partial(_named, block, rows)
        self._actor_pools.expect(result, actor, what, on_answer, patience_s=patience_s)

    def _expect_answers(
        self,
        call: int,
        actor: int,
        answer: tuple[Any, Any, Any],
        what: Callable[[], str],
        on_input_lost: Callable[[], None] | None,
    ) -> None:
        table, hard, result = answer
        on_answer = partial(self._on_answers, call, actor, table, hard)
        self._actor_pools.expect(result, actor, what, on_answer, on_input_lost)

    def _on_block_lost(self, block: int, call: int) -> None:
        logger.warning("images of block %d start again from their source", block)
        self._scheduler.handle(ObjectLost(block, call))

    def _on_decoded(self, call: int, shard: int, rows: Rows, result: DecodeResult) -> None:
        self._results.add_letters(shard, result.dead_letters)
        decoded, over = np.array(result.decoded_rows, dtype=np.int64), _NO_ROWS
        if self._sharing is not None:
            over = self._sharing.decoded(shard, rows, result.decoded_rows, result.digests)
        self._scheduler.handle(BlockDecoded(call, decoded, over))

    def _on_answers(self, call: int, actor: int, table: Any, hard: Any, result: CallResult) -> None:
        assert self._scheduler.is_in_flight(call), "answers from before a loss are dropped with it"
        pool = self._actor_pools.note_work(actor, result)
        if self._deadline is not None:
            self._deadline.note(call, actor, pool, result.work, result.waiting)
        finished = {block: rows for block, (rows, _) in result.answered.items()}
        if finished:
            origins = [self._scheduler.origins(*item) for item in finished.items()]
            joined = Origins(
                np.concatenate([part.shards for part in origins]),
                np.concatenate([part.rows for part in origins]),
            )
            exit_stages = np.concatenate([stages for _, stages in result.answered.values()])
            self._results.add_answers(table, joined, exit_stages)
            if self._sharing is not None:
                answers = (answer for block in finished for answer in result.answers[block])
                self._sharing.answered(joined, answers)
        for block, row, detail in result.failed:
            of_image = self._scheduler.origins(block, np.array([row]))
            self._results.record_dead_letter(of_image, Reason.MODEL_FAILED, detail, attempts=1)
            if self._sharing is not None:
                self._sharing.failed(of_image, Reason.MODEL_FAILED, detail, attempts=1)
            finished[block] = np.append(finished.get(block, _NO_ROWS), row)
        forwarded = None
        if result.pieces:
            forwarded = Forwarded(result.pieces, result.forwarded_bytes)
            self._hard_of_call[call] = hard
        self._scheduler.handle(CallFinished(call, finished, forwarded))

    def _check_dead_letters(self) -> None:
        allowed = self._max_dead_letters()
        num_failed = self._results.answered.num_dead_letters
        if allowed is not None and num_failed > allowed:
            raise TooManyDeadLettersError(
                f"max-errors: {num_failed} images failed, at most {allowed} may; see the "
                "dead_letters table"
            )

    def _settle(self) -> None:
        """Commits what is answered before an early end, so that it need not be done again."""
        deadline = time.monotonic() + _SETTLE_S
        self._actor_pools.expect_writer_only()
        try:
            while not self._results.are_committed and time.monotonic() < deadline:
                self._results.write_if_due(at_once=True)
                self._actor_pools.wait()
        except PipelineError as error:
            logger.warning("what was answered last could not be committed: %s", error)


_NO_ROWS = np.empty(0, dtype=np.int64)


def _named(block: int, rows: Rows) -> str:
    return f"{len(rows)} images (block {block})"
