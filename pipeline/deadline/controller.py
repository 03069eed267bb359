"""Connects the deadline policy with a run: calls, results, load, the clock and the threshold log.

A run without a deadline has no controller.
"""

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from dvt.exits import ALWAYS_EXIT
from pipeline.cascade.stage_work import StageWork
from pipeline.deadline.log import DeadlineOutcome, ThresholdLog
from pipeline.deadline.policy import (
    Backlog,
    CallWork,
    DeadlinePolicy,
    DeadlineSettings,
    half_life_s,
    reserve_s,
)
from pipeline.scheduling import PoolLoad

__all__ = ["DeadlineController"]

logger = logging.getLogger(__name__)

_SHORTEST_INTERVAL_S, _LONGEST_INTERVAL_S = 0.5, 10.0
_UNCOUNTED_S = 30.0  # until a warning that the archive is not counted
_LATE = 1.1


class DeadlineController:
    """The deadline of one run.

    Args:
        settings: the deadline and the threshold sets.
        gmacs_per_exit: cumulative cost of each exit.
        pools: first and last stage of each pool, from 1.
        batch_size: of the pools.
        started_s: when the run started, by `clock`.
        log: records the changes.
        audit: share of the images that go through all stages.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        settings: DeadlineSettings,
        gmacs_per_exit: Sequence[float],
        pools: Sequence[tuple[int, int]],
        batch_size: int,
        started_s: float,
        log: ThresholdLog,
        audit: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._pools = pools
        self._started_s = started_s
        self._log = log
        self._clock = clock
        self._policy = DeadlinePolicy(
            settings.threshold_sets,
            gmacs_per_exit,
            pools,
            batch_size,
            half_life_s(settings.seconds),
            audit,
        )
        self._current = 0  # index of the threshold set in use
        self._start_s = 0.0  # from the start to the first call
        self._num_done = 0
        self._calls: dict[int, tuple[int, float]] = {}  # threshold set, and when it was made
        self._finished_s: dict[int, float] = {}  # the last call of each actor
        self._waiting: dict[int, tuple[int, tuple[int, ...]]] = {}  # by actor: pool, and by stage
        self._interval_s = min(
            _LONGEST_INTERVAL_S, max(_SHORTEST_INTERVAL_S, settings.seconds / 500)
        )
        self._planned_s = 0.0
        self._has_warned = False

    @property
    def elapsed_s(self) -> float:
        """Since the run started."""
        return self._clock() - self._started_s

    def start_call(self, call: int) -> tuple[float, ...]:
        """Registers a call that is made now; returns its thresholds, one for each exit."""
        changes = self._log.of_this_run
        thresholds = self._settings.threshold_sets[self._current].thresholds
        if not changes:
            self._start_s = self.elapsed_s
        if not changes or changes[-1].threshold_set != self._current:
            self._log.add(self.elapsed_s, self._num_done, self._current, thresholds)
        self._calls[call] = (self._current, self._clock())
        return (*thresholds, ALWAYS_EXIT)

    def finish_call(
        self,
        call: int,
        actor: int,
        pool: int,
        work: tuple[StageWork, ...],
        waiting: tuple[int, ...],
    ) -> None:
        """Records a finished call.

        Args:
            call: its number.
            actor: that executed it.
            pool: of the actor.
            work: at each of the actor's stages.
            waiting: images inside the actor, by the stage of its pool that they wait for.
        """
        now_s = self._clock()
        threshold_set, made_s = self._calls.pop(call)
        turnaround_s = now_s - max(made_s, self._finished_s.get(actor, made_s))
        self._finished_s[actor] = now_s
        first_stage = self._pools[pool][0] - 1
        self._policy.record(now_s, CallWork(threshold_set, first_stage, work, turnaround_s))
        self._waiting[actor] = (pool, waiting)

    def plan(
        self,
        num_to_do: int | None,
        num_done: int,
        load_of: Callable[[int], PoolLoad],
    ) -> None:
        """Chooses the thresholds again, if it is time for that.

        Args:
            num_to_do: images that this run has to complete; None while unknown.
            num_done: images of these that it has completed.
            load_of: returns the load of a pool.
        """
        self._num_done = num_done
        now_s = self._clock()
        if now_s - self._planned_s < self._interval_s:
            return
        self._planned_s = now_s
        if num_to_do is None:
            self._use_cheapest()
        else:
            loads = [load_of(pool) for pool in range(len(self._pools))]
            backlog = self._backlog(max(0, num_to_do - num_done), loads)
            end_s = self._settings.seconds
            left_s = end_s - reserve_s(end_s, self._start_s) - self.elapsed_s
            self._current = self._policy.choose(left_s, backlog)
            self._warn_if_late(left_s, backlog)
        self._log.write_if_due()

    def _use_cheapest(self) -> None:
        """Without a count, ends too early rather than too late."""
        self._current = len(self._settings.threshold_sets) - 1
        if self.elapsed_s > _UNCOUNTED_S and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "deadline: the archive is not counted yet; using the cheapest thresholds allowed "
                "until it is"
            )

    def _warn_if_late(self, left_s: float, backlog: Backlog) -> None:
        is_last = self._current == len(self._settings.threshold_sets) - 1
        if self._has_warned or not is_last or not self._num_done or not self._policy.has_measured:
            return
        needed_s = float(self._policy.seconds_needed(backlog)[-1])
        if needed_s > _LATE * left_s:
            self._has_warned = True
            logger.warning(
                "deadline: cannot be met, even with the cheapest thresholds allowed: about %.0f s "
                "of work in %.0f s",
                needed_s,
                max(0.0, left_s),
            )

    def _backlog(self, num_left: int, loads: list[PoolLoad]) -> Backlog:
        """Locates the images that have no answer yet."""
        num_stages = self._pools[-1][1]
        waiting_E = np.zeros(num_stages, dtype=np.int64)
        for pool, ((first, _), load) in enumerate(zip(self._pools, loads, strict=True)):
            inside_E = np.zeros(num_stages, dtype=np.int64)
            for owner, stages in self._waiting.values():
                if owner == pool:
                    inside_E[first - 1 : first - 1 + len(stages)] += stages
            # The last report of an actor that was lost since is out of date.
            share = min(1.0, load.held_images / max(1, inside_E.sum()))
            inside_E = np.round(share * inside_E).astype(np.int64)
            waiting_E += inside_E
            arriving = max(0, load.held_images - int(inside_E.sum()))
            waiting_E[first - 1] += load.queued_images + load.quarantined_images + arriving
        waiting_E[0] = 0  # these have not started
        not_started = max(0, num_left - int(waiting_E.sum()))
        actors = tuple(load.num_ready for load in loads)
        return Backlog(not_started, tuple(waiting_E.tolist()), actors)

    def save(self) -> None:
        """Writes the threshold log."""
        self._log.write()

    def outcome(self) -> DeadlineOutcome:
        """How the run ended; call after all answers are committed."""
        changes = sorted(self._log.of_this_run, key=lambda change: change.threshold_set)
        return DeadlineOutcome(
            deadline_s=self._settings.seconds,
            ended_s=round(self.elapsed_s, 3),
            moves=max(0, len(changes) - 1),
            safest=changes[0].thresholds if changes else None,
            loosest=changes[-1].thresholds if changes else None,
            loosest_allowed=self._settings.threshold_sets[-1].thresholds,
        )
