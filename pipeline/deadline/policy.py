"""Which thresholds end a run in time: pure policy, asked about every second.

The seconds that are left to work are predicted for every threshold set of a ladder (`dvt.calibration`):

    images through a stage   those that wait for it, and of those further up the share that will
                             come: what the held-out images say of the threshold set, moved by what was seen
                             of this archive (its odds, so that "all" and "none" stay so);
                             images of an audit come all
    seconds of a stage       images times the seconds that one took lately; of a stage that has not
                             run yet, by its MACs
    seconds of a pool        of its stages, over its actors, over the share of an actor's time that
                             goes into stages
    seconds of the run       of the slowest pool, and half a batch at each stage for the end

The safest threshold set that ends in time is taken. Decoding is not counted: no threshold set makes it faster, and a
cascade that keeps up with it loses nothing by being safe. Knows neither Ray nor a clock; the same
for one actor and for thousands.
Shapes: E stages, R threshold sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvt.calibration import ThresholdSet
from pipeline.cascade.stage_metrics import StageWork

__all__ = [
    "Backlog",
    "DeadlinePolicy",
    "DeadlineSettings",
    "Worked",
    "half_life_s",
    "reserve_s",
]

Floats = NDArray[np.float64]

_AS_EXPECTED = 50.0  # images that count as gone on just as expected, before any was seen
_AS_COSTED = 8.0  # images of each stage that count as timed by their MACs
_AS_BUSY_S = 2.0  # seconds of an actor that count as spent in stages
_WORTH_IT = (
    0.97  # a safer threshold set must end this much before the time, so that noise moves nothing
)


@dataclass(frozen=True, slots=True)
class DeadlineSettings:
    """When a run is to end, and what it may do for that.

    Attributes:
        seconds: from its start.
        threshold_sets: nested, from the safest to the cheapest.
    """

    seconds: float
    threshold_sets: tuple[ThresholdSet, ...]


@dataclass(frozen=True, slots=True)
class Worked:
    """What one call to an actor came to.

    Attributes:
        threshold_set: under which it ran.
        first_stage: of the actor, from 0.
        stages: what was done at each of its stages.
        turnaround_s: since the actor's call before, or since this one was made if it had none.
    """

    threshold_set: int
    first_stage: int
    stages: tuple[StageWork, ...]
    turnaround_s: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is left to do.

    Attributes:
        not_begun: images that have run at no stage.
        waiting: images inside, by the stage that they wait for, [E]; none for the first.
        actors: at work in each pool.
    """

    not_begun: int
    waiting: tuple[int, ...]
    actors: tuple[int, ...]


class DeadlinePolicy:
    """Measures, predicts, and chooses a threshold set.

    Args:
        threshold_sets: nested, from the safest to the cheapest.
        gmacs_per_exit: cumulative cost of each exit.
        pools: first and last stage of each pool, from 1.
        batch_size: of the pools.
        half_life_s: after this time, what was measured counts half.
        audit: share of the images that go through all stages whatever they are told.

    Attributes:
        threshold_set: the one in use.
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
        self._goes_on_RE = np.array(
            [threshold_set.goes_on for threshold_set in threshold_sets]
        ).reshape(len(threshold_sets), -1)
        num_stages = len(self._gmacs)
        # Decayed sums: images, audited ones and seconds of each stage; images at each exit that
        # might have left or gone on, and of these those that went on, and were expected to.
        self._images, self._audited, self._seconds = np.zeros((3, num_stages))
        self._judged, self._went_on, self._expected = np.zeros((3, num_stages - 1))
        self._in_stages_s = self._turnaround_s = 0.0
        self._noted_s: float | None = None

    @property
    def has_measured(self) -> bool:
        """Whether there is anything to predict from."""
        return bool(self._images.any())

    def note(self, now_s: float, worked: Worked) -> None:
        """Takes note of a call that is over; `now_s` by any clock."""
        self._decay(now_s)
        for stage, work in enumerate(worked.stages, start=worked.first_stage):
            self._images[stage] += work.images
            self._audited[stage] += work.audited
            self._seconds[stage] += work.seconds
            self._in_stages_s += work.seconds
            if stage == len(self._judged):
                continue
            expected = self._goes_on_RE[worked.threshold_set, stage]
            if 0 < expected < 1:
                num_free = work.images - work.audited
                self._judged[stage] += num_free
                self._went_on[stage] += max(0, work.went_on - work.audited)
                self._expected[stage] += num_free * expected
        self._turnaround_s += worked.turnaround_s

    def _decay(self, now_s: float) -> None:
        before_s = now_s if self._noted_s is None else self._noted_s
        self._noted_s = now_s
        share = 0.5 ** ((now_s - before_s) / self._half_life_s)
        by_stage = (self._images, self._audited, self._seconds)
        for sums in (*by_stage, self._judged, self._went_on, self._expected):
            sums *= share
        self._in_stages_s *= share
        self._turnaround_s *= share

    def choose(self, time_left_s: float, backlog: Backlog) -> int:
        """The threshold set to use from now on."""
        if not self.has_measured:
            return self.threshold_set
        needed_R = self.seconds_needed(backlog)
        if needed_R[self.threshold_set] > time_left_s:
            self.threshold_set = _first(needed_R <= time_left_s, len(needed_R) - 1)
        else:
            safer = _first(
                needed_R[: self.threshold_set] <= _WORTH_IT * time_left_s, self.threshold_set
            )
            self.threshold_set = safer
        return self.threshold_set

    def seconds_needed(self, backlog: Backlog) -> Floats:
        """Predicted time to the last answer under each threshold set, [R]."""
        costs_s = self._seconds_per_image()
        goes_on_RE = self._goes_on()
        audited_E = (self._audited + self._audit) / (self._images + 1)
        audited = self._audit * backlog.not_begun
        free_R = np.full(len(goes_on_RE), backlog.not_begun - audited)
        work_ER = []
        for stage, cost_s in enumerate(costs_s):
            if stage:
                audited += backlog.waiting[stage] * audited_E[stage]
                free_R = free_R * goes_on_RE[:, stage - 1]
                free_R = free_R + backlog.waiting[stage] * (1 - audited_E[stage])
            work_ER.append((audited + free_R) * cost_s)
        busy = (self._in_stages_s + _AS_BUSY_S) / (self._turnaround_s + _AS_BUSY_S)
        pools_R = [
            np.sum(work_ER[stages], axis=0) / (max(1, actors) * min(1.0, busy))
            for stages, actors in zip(self._pools, backlog.actors, strict=True)
        ]
        needed_R: Floats = np.max(pools_R, axis=0) + costs_s.sum() * self._batch_size / 2
        return needed_R

    def _seconds_per_image(self) -> Floats:
        """Of each stage, [E]."""
        per_gmacs = self._seconds.sum() / float(self._images @ self._gmacs)
        assumed_s = per_gmacs * self._gmacs
        costs_s: Floats = (self._seconds + _AS_COSTED * assumed_s) / (self._images + _AS_COSTED)
        return costs_s

    def _goes_on(self) -> Floats:
        """Share of the images at each exit that will go on, under each threshold set, [R, E - 1]."""
        as_expected = self._expected / np.maximum(self._judged, 1e-9)
        as_expected = np.where(self._judged > 0, as_expected, 0.5) * _AS_EXPECTED
        number = self._judged + _AS_EXPECTED
        seen = _odds((self._went_on + as_expected) / number)
        odds_ratio = seen / _odds((self._expected + as_expected) / number)
        moved: Floats = self._goes_on_RE * odds_ratio
        goes_on: Floats = moved / (moved + 1 - self._goes_on_RE)
        return goes_on


def _odds(share: Floats) -> Floats:
    odds: Floats = share / np.maximum(1 - share, 1e-9)
    return odds


def _first(fits: NDArray[np.bool_], otherwise: int) -> int:
    return int(fits.argmax()) if fits.any() else otherwise


def half_life_s(seconds: float) -> float:
    """After which time a measurement counts half, in a run of this length.

    Long enough to see through noise, short enough to follow an archive or a machine that changes.
    """
    return min(300.0, max(5.0, seconds / 20))


def reserve_s(seconds: float, start_s: float) -> float:
    """What a run keeps for its end: the last commit, Ray's end.

    Args:
        seconds: that the run may take.
        start_s: until the first call; where Ray is slow to start, it is slow to end.
    """
    return min(60.0, max(1.0, 0.015 * seconds), seconds / 4) + 0.05 * min(start_s, 40.0)
