"""A run in virtual time: decoding, calls, a staged queue, and stages that take time.

The policy gets what the engine would give it. How hard the images are and how fast the machine is,
it has to measure.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dvt.calibration import ThresholdSet, threshold_sets, uniform_path
from pipeline.cascade.stage_work import StageWork
from pipeline.cascade.staged_queue import StagedQueue
from pipeline.deadline.policy import Backlog, CallWork, DeadlinePolicy, half_life_s, reserve_s

__all__ = ["BATCH", "GMACS", "SimulatedRun", "held_out_sets", "images"]

GMACS = (1.0, 3.0, 8.0)
BATCH = 16


def images(number: int, seed: int, hardness: float = 0.0) -> NDArray[np.float32]:
    """Confidences at three exits, [3, number]; of harder images they are lower."""
    random = np.random.default_rng(seed)
    ease = random.normal(1.0 - hardness, 2.0, number)
    noise = random.normal(0.0, 0.7, (3, number))
    logits = ease + np.array([[0.0], [0.8], [1.4]]) + noise
    confidences: NDArray[np.float32] = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return confidences


def held_out_sets(most: int = 32) -> tuple[ThresholdSet, ...]:
    """Threshold sets from 4,000 such images, down to a quarter of the cost of full depth."""
    confidences = images(4000, seed=1)
    sets = threshold_sets(uniform_path(confidences), confidences, GMACS, most)
    return tuple(each for each in sets if each.gmacs >= 0.25 * GMACS[-1])


@dataclass
class Rows:
    """Images by their numbers."""

    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def cut(self, start: int, stop: int) -> Self:
        return type(self)(self.numbers[start:stop])

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        return cls(np.concatenate([part.numbers for part in parts]))


@dataclass
class SimulatedRun:
    """A run with one actor and a deadline.

    Attributes:
        threshold_sets: that the policy may use.
        confidences: of the archive, [E, n].
        seconds_per_gmac: speed at a time.
        deadline_s: from the start.
        start_s: until the actor is up.
        decode_rate: images per second.
        end_s: after the last answer.
        noise: relative deviation of the duration of a batch.
        audit: share of the images that go through all stages.
        used: index of the threshold set of each call.
        exits: of the images, from 0, in the order of their answers.
    """

    threshold_sets: tuple[ThresholdSet, ...]
    confidences: NDArray[np.float32]
    seconds_per_gmac: Callable[[float], float]
    deadline_s: float
    start_s: float = 10.0
    decode_rate: float = 1e6
    end_s: float = 1.0
    noise: float = 0.05
    audit: float = 0.0
    used: list[int] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._now_s = self.start_s
        self._random = np.random.default_rng(3)
        self._queue: StagedQueue[Rows] = StagedQueue(3, BATCH)
        lots = np.random.default_rng(4).random(self.confidences.shape[1])
        self._is_audited: NDArray[np.bool_] = np.less(lots, self.audit)
        self._gmacs = np.diff(np.array(GMACS), prepend=0.0)

    def run(self) -> float:
        """Runs to the end; returns the time of the end."""
        policy = DeadlinePolicy(
            self.threshold_sets, GMACS, [(1, 3)], BATCH, half_life_s(self.deadline_s), self.audit
        )
        num_images = self.confidences.shape[1]
        calls = [range(s, min(s + BATCH, num_images)) for s in range(0, num_images, BATCH)]
        kept_s = reserve_s(self.deadline_s, self.start_s)
        planned_s = 0.0
        lag = [0, 0]  # two calls in flight have their thresholds already
        for call in [*calls, None]:
            begun_s = self._now_s
            if call is not None:
                arrives_s = self.start_s + call.stop / self.decode_rate
                self._now_s = max(self._now_s, arrives_s)
                begun_s = self._now_s
                self._queue.push(0, Rows(np.arange(call.start, call.stop)))
            threshold_set, lag = lag[0], [lag[1], policy.threshold_set]
            self.used.append(threshold_set)
            work = self._run(threshold_set, is_flush=call is None)
            turnaround_s = self._now_s - begun_s + 0.002
            policy.record(self._now_s, CallWork(threshold_set, 0, work, turnaround_s))
            if self._now_s - planned_s >= 0.5:
                planned_s = self._now_s
                waiting = self._queue.waiting
                left = num_images - len(self.exits) - sum(waiting[1:])
                time_left_s = self.deadline_s - kept_s - self._now_s
                policy.choose(time_left_s, Backlog(left, (0, *waiting[1:]), (1,)))
        return self._now_s + self.end_s

    def _run(self, threshold_set: int, is_flush: bool) -> tuple[StageWork, ...]:
        thresholds = (*self.threshold_sets[threshold_set].thresholds, -np.inf)
        work = [StageWork()] * 3
        while batch := (self._queue.pop_any() if is_flush else self._queue.pop_full()):
            stage, rows = batch
            seconds = BATCH * self._gmacs[stage] * self.seconds_per_gmac(self._now_s)
            seconds *= max(0.2, self._random.normal(1.0, self.noise))
            self._now_s += seconds
            audited = self._is_audited[rows.numbers]
            goes_on = self.confidences[stage, rows.numbers] < thresholds[stage]
            goes_on |= audited & (stage < 2)
            self._queue.push(min(stage + 1, 2), Rows(rows.numbers[goes_on]))
            self.exits += [stage] * int((~goes_on).sum())
            before = work[stage]
            work[stage] = StageWork(
                before.images + len(rows),
                before.went_on + int(goes_on.sum()),
                before.seconds + seconds,
                before.audited + int(audited.sum()),
            )
        return tuple(work)
