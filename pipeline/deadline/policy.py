"""Which thresholds end a run in time. Pure policy, evaluated about every second.

For every set of a threshold schedule (`dvt.calibration`), predicts the remaining working time:

    images through a stage   those waiting for it, and of those before it the share that will come:
                             the share of the held-out images under this set, corrected by the odds
                             ratio between what this archive did and what was expected of it;
                             audited images go through every stage
    seconds of a stage       its images × the recent seconds per image; before its first batch, in
                             proportion to its MACs
    seconds of a pool        sum over its stages, divided by its actors and by the share of their
                             time that they spend in stages
    seconds of the run       those of the slowest pool, and half a batch of every stage at the end

Chooses the safest set that ends in time. Decoding is left out: no set makes it faster, and where it
is the bottleneck, safe thresholds cost no time. No Ray, no clock.

Shapes: E stages, M threshold sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvt.calibration import ThresholdSet
from pipeline.cascade.stage_work import StageWork

__all__ = [
    "Backlog",
    "CallWork",
    "DeadlinePolicy",
    "DeadlineSettings",
    "half_life_s",
    "reserve_s",
]

Floats = NDArray[np.float64]

# Weights of what is assumed before anything was measured.
_PRIOR_IMAGES = 50.0  # at each exit, going on as expected
_PRIOR_TIMED_IMAGES = 8.0  # of each stage, taking time in proportion to MACs
_PRIOR_BUSY_S = 2.0  # of an actor, all spent in stages
# A safer set must fit into this share of the time left, so that noise does not cause changes.
_MARGIN = 0.97


@dataclass(frozen=True, slots=True)
class DeadlineSettings:
    """When a run is to end, and what it may use for that.

    Attributes:
        seconds: from the start of the run.
        threshold_sets: nested, from the safest to the cheapest.
    """

    seconds: float
    threshold_sets: tuple[ThresholdSet, ...]


@dataclass(frozen=True, slots=True)
class CallWork:
    """What one call to an actor did.

    Attributes:
        threshold_set: index of the set that it used.
        first_stage: of the actor, from 0.
        stages: work at each of the actor's stages.
        turnaround_s: since the end of the actor's previous call, or since this one was made.
    """

    threshold_set: int
    first_stage: int
    stages: tuple[StageWork, ...]
    turnaround_s: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is left to do.

    Attributes:
        not_started: images that have run at no stage.
        waiting: images inside, by the stage that they wait for, [E]; 0 for the first.
        actors: up, in each pool.
    """

    not_started: int
    waiting: tuple[int, ...]
    actors: tuple[int, ...]


class DeadlinePolicy:
    """Measures, predicts, and chooses a threshold set.

    Args:
        threshold_sets: nested, from the safest to the cheapest.
        gmacs_per_exit: cumulative cost of each exit.
        pools: first and last stage of each pool, from 1.
        batch_size: of the pools.
        half_life_s: after this time, a measurement has half its weight.
        audit: share of the images that go through all stages.

    Attributes:
        threshold_set: index of the set in use.
    """

    def __init__(
        self,
        threshold_sets: Sequence[ThresholdSet],
        gmacs_per_exit: Sequence[float],
        pools: Sequence[tuple[int, int]],
        batch_size: int,
        half_life_s: float,
        audit: float = 0.0,
    ) -> None:
        self.threshold_set = 0
        self._pools = [slice(first - 1, last) for first, last in pools]
        self._batch_size = batch_size
        self._half_life_s = half_life_s
        self._audit = audit
        self._gmacs = np.diff(np.array(gmacs_per_exit), prepend=0.0)
        self._goes_on_ME = np.array([each.goes_on for each in threshold_sets]).reshape(
            len(threshold_sets), -1
        )
        num_stages = len(self._gmacs)
        # Decayed sums. Of each stage: images, audited images and seconds. Of each exit but the
        # last: images that were free to exit or go on, those that went on, and those expected to.
        self._images, self._audited, self._seconds = np.zeros((3, num_stages))
        self._free, self._went_on, self._expected = np.zeros((3, num_stages - 1))
        self._times_s = np.zeros(2)  # of the actors: in stages, and in all
        self._recorded_s: float | None = None

    @property
    def has_measured(self) -> bool:
        """Whether there is anything to predict from."""
        return bool(self._images.any())

    def record(self, now_s: float, call: CallWork) -> None:
        """Adds the measurements of a finished call; `now_s` is the time by any clock."""
        self._decay(now_s)
        in_stages_s = sum(work.seconds for work in call.stages)
        self._times_s += (in_stages_s, call.turnaround_s)
        for stage, work in enumerate(call.stages, start=call.first_stage):
            self._images[stage] += work.images
            self._audited[stage] += work.audited
            self._seconds[stage] += work.seconds
            if stage == len(self._free):
                continue
            expected = self._goes_on_ME[call.threshold_set, stage]
            if 0 < expected < 1:
                num_free = work.images - work.audited
                self._free[stage] += num_free
                self._went_on[stage] += max(0, work.went_on - work.audited)
                self._expected[stage] += num_free * expected

    def _decay(self, now_s: float) -> None:
        elapsed_s = 0.0 if self._recorded_s is None else now_s - self._recorded_s
        self._recorded_s = now_s
        weight = 0.5 ** (elapsed_s / self._half_life_s)
        by_stage = (self._images, self._audited, self._seconds)
        for sums in (*by_stage, self._free, self._went_on, self._expected, self._times_s):
            sums *= weight

    def choose(self, time_left_s: float, backlog: Backlog) -> int:
        """Index of the threshold set to use from now on."""
        if not self.has_measured:
            return self.threshold_set
        needed_M = self.seconds_needed(backlog)
        current = self.threshold_set
        if needed_M[current] > time_left_s:
            self.threshold_set = _first(needed_M <= time_left_s, len(needed_M) - 1)
        else:
            self.threshold_set = _first(needed_M[:current] <= _MARGIN * time_left_s, current)
        return self.threshold_set

    def seconds_needed(self, backlog: Backlog) -> Floats:
        """Predicted time to the last answer under each threshold set, [M]."""
        costs_s = self._seconds_per_image()
        goes_on_ME = self._goes_on()
        audited_E = (self._audited + self._audit) / (self._images + 1)
        audited = self._audit * backlog.not_started
        free_M = np.full(len(goes_on_ME), backlog.not_started - audited)
        work_EM = []
        for stage, cost_s in enumerate(costs_s):
            if stage:
                waiting = backlog.waiting[stage]
                audited += waiting * audited_E[stage]
                free_M = free_M * goes_on_ME[:, stage - 1] + waiting * (1 - audited_E[stage])
            work_EM.append((audited + free_M) * cost_s)
        in_stages_s, all_s = self._times_s + _PRIOR_BUSY_S
        busy = min(1.0, in_stages_s / all_s)
        pools_M = [
            np.sum(work_EM[stages], axis=0) / (max(1, actors) * busy)
            for stages, actors in zip(self._pools, backlog.actors, strict=True)
        ]
        needed_M: Floats = np.max(pools_M, axis=0) + costs_s.sum() * self._batch_size / 2
        return needed_M

    def _seconds_per_image(self) -> Floats:
        """Of each stage, [E]."""
        assumed_s = self._seconds.sum() / float(self._images @ self._gmacs) * self._gmacs
        costs_s: Floats = (self._seconds + _PRIOR_TIMED_IMAGES * assumed_s) / (
            self._images + _PRIOR_TIMED_IMAGES
        )
        return costs_s

    def _goes_on(self) -> Floats:
        """Share of the images at each exit that will go on, under each set, [M, E - 1].

        Moves the expected shares by an odds ratio, which leaves shares of 0 and 1 as they are.
        """
        prior = self._expected / np.maximum(self._free, 1e-9)
        prior = np.where(self._free > 0, prior, 0.5) * _PRIOR_IMAGES
        number = self._free + _PRIOR_IMAGES
        odds_ratio = _odds((self._went_on + prior) / number) / _odds(
            (self._expected + prior) / number
        )
        moved: Floats = self._goes_on_ME * odds_ratio
        goes_on: Floats = moved / (moved + 1 - self._goes_on_ME)
        return goes_on


def _odds(share: Floats) -> Floats:
    odds: Floats = share / np.maximum(1 - share, 1e-9)
    return odds


def _first(fits: NDArray[np.bool_], otherwise: int) -> int:
    return int(fits.argmax()) if fits.any() else otherwise


def half_life_s(seconds: float) -> float:
    """The half-life of measurements in a run of this length.

    Long enough to average out noise, short enough to follow an archive or a machine that changes.
    """
    return min(300.0, max(5.0, seconds / 20))


def reserve_s(seconds: float, start_s: float) -> float:
    """Time reserved for the end of a run: the last commit, and Ray's shutdown.

    Args:
        seconds: the run may take.
        start_s: from the start to the first call; where Ray starts slowly, it ends slowly.
    """
    return min(60.0, max(1.0, 0.015 * seconds), seconds / 4) + 0.05 * min(start_s, 40.0)
