"""Simulated actors: how long a call takes, and what comes out of it.

An actor of a pool has the real `StagedQueue`, with one stage more than its pool if there is a next
pool: images for that pool, too, leave in full batches.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.cascade.staged_queue import StagedQueue
from pipeline.scheduling import DECODERS
from pipeline.simulation.archive import KILLS, Images
from pipeline.simulation.scenario import Scenario

__all__ = ["CallOutcome", "SimulatedActor"]


@dataclass(slots=True)
class CallOutcome:
    """What comes out of a call.

    Attributes:
        seconds: duration.
        answered: row ids.
        forwarded: images for the next pool.
        kills: an image kills the actor at the end of the call.
    """

    seconds: float = 0.0
    answered: list[NDArray[np.int64]] = field(default_factory=list)
    forwarded: list[Images] = field(default_factory=list)
    kills: bool = False


class SimulatedActor:
    """A decoder, or an actor of a pool.

    Args:
        number: identifies the actor.
        pool: position of its pool, or `DECODERS`.
        node: where it runs.
        slowness: factor on the duration of its calls.
        scenario: has the stages and their speed.

    Attributes:
        is_up: it works.
        is_draining: the scheduler was asked to drain it.
        life: number of its ends; results from an earlier life are dropped.
        num_calls: in flight.
        free_at_s: when it will have finished them.
        busy_s: worked so far, its calls in flight included.
        up_s: total time up in earlier lives.
    """

    def __init__(
        self, number: int, pool: int, node: str, slowness: float, scenario: Scenario
    ) -> None:
        self.number, self.pool, self.node, self.slowness = number, pool, node, slowness
        self.is_up = self.is_draining = False
        self.life = self.num_calls = 0
        self.free_at_s = self.busy_s = self.up_s = self._up_since_s = 0.0
        self._scenario = scenario

    @property
    def is_idle(self) -> bool:
        """May get work, and has none."""
        return self.is_up and not self.is_draining and not self.num_calls

    def start(self, now_s: float) -> None:
        """Comes up, empty."""
        self.is_up, self.is_draining = True, False
        self._up_since_s = self.free_at_s = now_s
        if self.pool != DECODERS:
            self._first, self._last = self._scenario.stage_ranges[self.pool]
            forwards = self._last < len(self._scenario.stage_ms)
            num_stages = self._last - self._first + 1 + forwards
            self._queue: StagedQueue[Images] = StagedQueue(num_stages, self._scenario.batch_size)

    def end(self, now_s: float) -> None:
        """Goes down; work that is not finished does not count."""
        if self.is_up:
            self.busy_s -= max(0.0, self.free_at_s - max(now_s, self._up_since_s))
            self.up_s += now_s - self._up_since_s
        self.is_up = False
        self.num_calls = 0
        self.life += 1

    def book(self, now_s: float, delay_s: float, seconds: float) -> float:
        """Adds a call that arrives after `delay_s`; returns when it is finished."""
        self.free_at_s = max(now_s + delay_s, self.free_at_s) + seconds
        self.busy_s += seconds
        return self.free_at_s

    def run(self, images: Images, computed: NDArray[np.int64]) -> CallOutcome:
        """Takes images in and runs all full batches.

        Args:
            images: to run.
            computed: images and batches of each stage, [stages, 2]; the call adds its own.
        """
        self._queue.push(0, images)
        return self._work(computed, is_flush=False)

    def flush(self, computed: NDArray[np.int64]) -> CallOutcome:
        """Runs until nothing is left inside."""
        return self._work(computed, is_flush=True)

    def _work(self, computed: NDArray[np.int64], is_flush: bool) -> CallOutcome:
        outcome, scenario = CallOutcome(), self._scenario
        pop = self._queue.pop_any if is_flush else self._queue.pop_full
        while (batch := pop()) is not None:
            own_stage, images = batch
            stage = self._first - 1 + own_stage
            if stage == self._last:
                outcome.forwarded.append(images)
                continue
            # A partial batch is padded, so it takes as long as a full one.
            outcome.seconds += scenario.stage_ms[stage] / 1000
            computed[stage] += (len(images), 1)
            if scenario.poison and (images.exits == stage + KILLS).any():
                outcome.kills = True
                break
            leaves = images.exits == stage
            if leaves.any():
                outcome.answered.append(images.row_ids[leaves])
                images = Images(images.row_ids[~leaves], images.exits[~leaves])
            self._queue.push(own_stage + 1, images)
        return outcome
