"""A run that is to end in time: tells the policy what happens, and calls which thresholds to use.

Between the coordinator (calls, receipts, a clock) and `pacing` (policy). It also takes down what
was used when. Without a deadline there is none of this.
"""

import logging
import time
from collections.abc import Callable, Sequence

from dvt.exits import TAKES_ALL
from pipeline.cascade.stage_metrics import StageWork
from pipeline.deadline.log import DeadlineOutcome, ThresholdsUsed
from pipeline.deadline.policy import (
    Backlog,
    DeadlinePolicy,
    DeadlineSettings,
    Worked,
    half_life_s,
    reserve_s,
)
from pipeline.scheduling import PoolLoad

__all__ = ["DeadlineController"]

logger = logging.getLogger(__name__)

_PLAN_EVERY_S = 0.5
_LONGEST_PLAN_S = 10.0
_UNCOUNTED_S = 30.0  # after which it is told that nobody knows how many images there are


class DeadlineController:
    """The deadline of one run.

    Args:
        settings: when it is, and the ladder.
        gmacs_per_exit: cumulative cost of each exit.
        pools: first and last stage of each pool, from 1.
        batch_size: of the pools.
        started_s: when the run started, by the clock.
        used: takes down the changes.
        audit: share of the images that go through all stages in any case.
        clock: in seconds; never goes back.
    """

    def __init__(
        self,
        settings: DeadlineSettings,
        gmacs_per_exit: Sequence[float],
        pools: Sequence[tuple[int, int]],
        batch_size: int,
        started_s: float,
        used: ThresholdsUsed,
        audit: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._pools = pools
        self._started_s = started_s
        self._used = used
        self._clock = clock
        self._policy = DeadlinePolicy(
            settings.threshold_sets,
            gmacs_per_exit,
            pools,
            batch_size,
            half_life_s(settings.seconds),
            audit,
        )
        self._thresholds = [
            (*threshold_set.thresholds, TAKES_ALL) for threshold_set in settings.threshold_sets
        ]
        self._start_s = 0.0  # until the first call
        self._rung = 0
        self._num_done = 0
        self._calls: dict[int, tuple[int, float]] = {}  # threshold set, and when it was made
        self._answered_s: dict[int, float] = {}  # by actor
        self._waiting: dict[int, tuple[int, tuple[int, ...]]] = {}  # by actor: pool, and by stage
        self._plan_every_s = min(_LONGEST_PLAN_S, max(_PLAN_EVERY_S, settings.seconds / 500))
        self._planned_s = 0.0
        self._has_warned = False

    @property
    def elapsed_s(self) -> float:
        """Since the run started."""
        return self._clock() - self._started_s

    def thresholds(self, call: int) -> tuple[float, ...]:
        """Those that a call is to use, one for each exit; it is made now."""
        used = self._used.of_this_run
        if not used:
            self._start_s = self.elapsed_s
        if not used or used[-1].threshold_set != self._rung:
            threshold_set = self._settings.threshold_sets[self._rung]
            self._used.add(self.elapsed_s, self._num_done, self._rung, threshold_set.thresholds)
        self._calls[call] = (self._rung, self._clock())
        return self._thresholds[self._rung]

    def note(
        self,
        call: int,
        actor: int,
        pool: int,
        work: tuple[StageWork, ...],
        waiting: tuple[int, ...],
    ) -> None:
        """Takes note of a call that is over.

        Args:
            call: its number.
            actor: that did it.
            pool: of the actor.
            work: done at each of its stages.
            waiting: images inside, by the stage there that they wait for.
        """
        now_s = self._clock()
        threshold_set, made_s = self._calls.pop(call)
        turnaround_s = now_s - max(made_s, self._answered_s.get(actor, made_s))
        self._answered_s[actor] = now_s
        first_stage = self._pools[pool][0] - 1
        self._policy.note(now_s, Worked(threshold_set, first_stage, work, turnaround_s))
        self._waiting[actor] = (pool, waiting)

    def plan(
        self,
        num_to_do: int | None,
        num_done: int,
        load_of: Callable[[int], PoolLoad],
    ) -> None:
        """Chooses thresholds anew, if it is time for that.

        Args:
            num_to_do: images that are for this run to do; None while unknown.
            num_done: of them, those that it has done.
            load_of: of a pool.
        """
        self._num_done = num_done
        now_s = self._clock()
        if now_s - self._planned_s < self._plan_every_s:
            return
        self._planned_s = now_s
        if num_to_do is None:
            self._use_cheapest()
        else:
            loads = [load_of(pool) for pool in range(len(self._pools))]
            backlog = self._backlog(max(0, num_to_do - num_done), loads)
            end_s = self._settings.seconds
            left_s = end_s - reserve_s(end_s, self._start_s) - self.elapsed_s
            self._rung = self._policy.choose(left_s, backlog)
            self._warn_if_late(left_s, backlog)
        self._used.write_if_due()

    def _use_cheapest(self) -> None:
        """Too fast does less harm than too late."""
        self._rung = len(self._thresholds) - 1
        if self.elapsed_s > _UNCOUNTED_S and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "deadline: the archive is not counted yet; the cheapest thresholds allowed are "
                "used until it is"
            )

    def _warn_if_late(self, left_s: float, backlog: Backlog) -> None:
        if self._has_warned or not self._policy.has_measured:
            return
        is_last = self._rung == len(self._thresholds) - 1
        needed_s = float(self._policy.seconds_needed(backlog)[-1])
        if is_last and needed_s > 1.1 * left_s and self._num_done:
            self._has_warned = True
            logger.warning(
                "deadline: cannot be met, not even with the cheapest thresholds allowed: "
                "about %.0f s of work are left, and %.0f s of time",
                needed_s,
                max(0.0, left_s),
            )

    def _backlog(self, num_left: int, loads: list[PoolLoad]) -> Backlog:
        """Where the images are that have no answer yet."""
        num_stages = self._pools[-1][1]
        waiting = [0] * num_stages
        for pool, ((first, _), load) in enumerate(zip(self._pools, loads, strict=True)):
            inside = [0] * (num_stages + 1)
            for owner, stages in self._waiting.values():
                if owner == pool:
                    for stage, number in enumerate(stages, start=first - 1):
                        inside[stage] += number
            # What an actor told is out of date once it is lost.
            share = min(1.0, load.held_images / max(1, sum(inside)))
            for stage in range(first, num_stages):
                waiting[stage] += round(share * inside[stage])
            if pool:
                arriving = load.held_images - round(share * sum(inside))
                waiting[first - 1] += (
                    load.queued_images + load.quarantined_images + max(0, arriving)
                )
                waiting[first - 1] += round(share * inside[first - 1])
        waiting[0] = 0
        not_begun = max(0, num_left - sum(waiting))
        return Backlog(not_begun, tuple(waiting), tuple(load.num_ready for load in loads))

    def save(self) -> None:
        """Writes what was used."""
        self._used.write()

    def outcome(self) -> DeadlineOutcome:
        """What became of it; all answers are committed."""
        used = self._used.of_this_run
        threshold_sets = [entry.threshold_set for entry in used]
        return DeadlineOutcome(
            deadline_s=self._settings.seconds,
            ended_s=round(self.elapsed_s, 3),
            moves=max(0, len(used) - 1),
            safest=used[threshold_sets.index(min(threshold_sets))].thresholds if used else None,
            loosest=used[threshold_sets.index(max(threshold_sets))].thresholds if used else None,
            loosest_allowed=self._settings.threshold_sets[-1].thresholds,
        )
