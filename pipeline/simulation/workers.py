"""Simulated actors: how long a call takes them, and what comes out of it.

A cascade actor's queue is the real `StagedQueue`, with one more stage behind its last for images
that go on to the next pool: they, too, leave in full batches.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.cascade.staged_queue import StagedQueue
from pipeline.simulation.archive import KILLS, Images
from pipeline.simulation.scenario import Scenario

__all__ = ["Done", "SimulatedActor", "SimulatedCascade"]


@dataclass(slots=True, eq=False)
class SimulatedActor:
    """What the world knows of an actor; this much is all of a decoder.

    Attributes:
        number: of the actor.
        pool: position of its pool, or `DECODERS`.
        node: where it runs.
        slowness: its time for a call, relative to others.
        is_alive: it works; the scheduler may not know yet that it does not.
        is_ready: the scheduler was told that it is up.
        is_draining: the scheduler was told that it is to go.
        life: counts its deaths; what belongs to an earlier life is dropped.
        num_calls: that it was given and has not reported.
        free_at_s: when it is done with all of them.
        busy_s: worked so far, and on what it was given.
        up_since_s: when it came up.
        up_s: up in earlier lives.
    """

    number: int
    pool: int
    node: str
    slowness: float
    is_alive: bool = False
    is_ready: bool = False
    is_draining: bool = False
    life: int = 0
    num_calls: int = 0
    free_at_s: float = 0.0
    busy_s: float = 0.0
    up_since_s: float = 0.0
    up_s: float = 0.0

    @property
    def is_idle(self) -> bool:
        """As the scheduler sees it: may get work, and has none."""
        return self.is_ready and not self.is_draining and not self.num_calls

    def book(self, now_s: float, delay_s: float, seconds: float) -> float:
        """Takes a call's time up; returns when it is done."""
        start_s = max(now_s + delay_s, self.free_at_s)
        self.free_at_s = start_s + seconds
        self.busy_s += seconds
        return self.free_at_s

    def die(self, now_s: float) -> None:
        """Stops work; what it was given and has not done was no work."""
        if self.is_alive:
            self.busy_s -= max(0.0, self.free_at_s - max(now_s, self.up_since_s))
            self.up_s += now_s - self.up_since_s
        self.is_alive = False
        self.life += 1

    def rise(self, now_s: float) -> None:
        """Is up, and empty."""
        self.is_alive = self.is_ready = True
        self.is_draining = False
        self.num_calls = 0
        self.up_since_s = self.free_at_s = now_s


@dataclass(slots=True)
class Done:
    """What comes out of a call.

    Attributes:
        seconds: it takes.
        answered: row_ids.
        forwarded: what goes on to the next pool.
        kills: an image in it kills the actor, at the end of these seconds.
    """

    seconds: float = 0.0
    answered: list[NDArray[np.int64]] = field(default_factory=list)
    forwarded: list[Images] = field(default_factory=list)
    kills: bool = False


@dataclass(slots=True, eq=False)
class SimulatedCascade(SimulatedActor):
    """An actor of a pool.

    Attributes:
        queue: its stages, and one more for what goes on.
        stages: first and last, from 1.
    """

    queue: StagedQueue[Images] = field(default_factory=lambda: StagedQueue(1, 1))
    stages: tuple[int, int] = (1, 1)

    def empty(self, scenario: Scenario) -> None:
        """Starts with nothing inside."""
        self.stages = first, last = scenario.stage_ranges[self.pool]
        is_last = last == len(scenario.stage_ms)
        self.queue = StagedQueue(last - first + 1 + (not is_last), scenario.batch_size)

    def run(self, images: Images, scenario: Scenario, computed: NDArray[np.int64]) -> Done:
        """Takes images in and runs all full batches."""
        self.queue.push(0, images)
        return self._work(scenario, computed, flushes=False)

    def flush(self, scenario: Scenario, computed: NDArray[np.int64]) -> Done:
        """Runs until nothing is left inside."""
        return self._work(scenario, computed, flushes=True)

    def _work(self, scenario: Scenario, computed: NDArray[np.int64], flushes: bool) -> Done:
        """Adds images and batches of each stage to `computed`, [stages, 2]."""
        done = Done()
        first, last = self.stages
        pop = self.queue.pop_any if flushes else self.queue.pop_full
        while (batch := pop()) is not None:
            stage = first - 1 + batch[0]
            images = batch[1]
            if stage == last:
                done.forwarded.append(images)
                continue
            # A partial batch is padded, so it takes as long as a full one.
            done.seconds += scenario.stage_ms[stage] / 1000
            computed[stage] += (len(images), 1)
            if scenario.poison and (images.exits == stage + KILLS).any():
                done.kills = True
                break
            leaves = images.exits == stage
            if leaves.any():
                done.answered.append(images.row_ids[leaves])
                stays = ~leaves
                images = Images(images.row_ids[stays], images.exits[stays])
            self.queue.push(batch[0] + 1, images)
        return done
