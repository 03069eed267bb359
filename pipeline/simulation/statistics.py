"""Counters of a running simulation, and the result made of them."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.scheduling import DECODERS
from pipeline.simulation.actors import SimulatedActor
from pipeline.simulation.scenario import Scenario

__all__ = ["PoolResult", "SimulationResult", "Statistics"]


@dataclass(frozen=True, slots=True)
class PoolResult:
    """Result of one pool.

    Attributes:
        pool: its stages, or "decode".
        utilisation: share of the time its actors were up that they worked.
        filled: share of the rows of its batches that were images; None for decoders.
        peak_queue_bytes: most bytes in its queue, reservations included; 0 for decoders.
    """

    pool: str
    utilisation: float
    filled: float | None
    peak_queue_bytes: int


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Result of a scenario in which no invariant was broken.

    Attributes:
        images: in the archive; each was completed once.
        given_up: of those, found to kill actors.
        virtual_s: from start to end.
        images_per_virtual_s: throughput.
        pools: decoders first.
        decoded_again: decodes of images that had been decoded before.
        run_again: times an image was passed to a pool that had had it before.
        answers_lost: answers that were not committed when the coordinator was lost.
        faults: how many of each kind.
        steps: events.
        scheduling_s: processor time spent in the scheduler.
        images_per_scheduling_s: images that the scheduler handles per second of processor time.
        wall_s: real time of the simulation.
    """

    images: int
    given_up: int
    virtual_s: float
    images_per_virtual_s: float
    pools: tuple[PoolResult, ...]
    decoded_again: int
    run_again: int
    answers_lost: int
    faults: dict[str, int]
    steps: int
    scheduling_s: float
    images_per_scheduling_s: float
    wall_s: float


@dataclass(slots=True)
class Statistics:
    """Counters.

    Attributes:
        scenario: that runs.
        num_decoded: images given to decoders.
        num_run: images given to actors of the pools.
        num_forwarded: of those, passed on to the next pool.
        computed: images and batches of each stage, [stages, 2].
        busy_s, up_s: of the actors that are gone, by pool.
    """

    scenario: Scenario
    num_decoded: int = 0
    num_run: int = 0
    num_forwarded: int = 0
    num_given_up: int = 0
    num_answers_lost: int = 0
    num_steps: int = 0
    scheduling_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    busy_s: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    up_s: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    computed: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Starts at zero."""
        self.computed = np.zeros((len(self.scenario.stage_ms), 2), dtype=np.int64)

    def add_times(self, actor: SimulatedActor) -> None:
        """Adds the times of an actor that has ended."""
        self.busy_s[actor.pool] += actor.busy_s
        self.up_s[actor.pool] += actor.up_s

    def result(self, virtual_s: float, wall_s: float, peak_bytes: list[int]) -> SimulationResult:
        """The result, once all actors have ended.

        Args:
            virtual_s: from start to end.
            wall_s: the same in real time.
            peak_bytes: of each queue.
        """
        images, scheduling_s = self.scenario.images, self.scheduling_s
        pools = [PoolResult("decode", self._utilisation(DECODERS), None, 0)]
        for pool, limits in enumerate(self.scenario.limits.pools):
            stages = slice(limits.first_stage - 1, limits.last_stage)
            num_images, num_batches = self.computed[stages].sum(axis=0).tolist()
            filled = num_images / max(1, num_batches * self.scenario.batch_size)
            pools.append(PoolResult(str(limits), self._utilisation(pool), filled, peak_bytes[pool]))
        return SimulationResult(
            images=images,
            given_up=self.num_given_up,
            virtual_s=virtual_s,
            images_per_virtual_s=images / virtual_s if virtual_s else 0.0,
            pools=tuple(pools),
            decoded_again=self.num_decoded - images,
            run_again=self.num_run - self.num_forwarded - images,
            answers_lost=self.num_answers_lost,
            faults=dict(self.faults),
            steps=self.num_steps,
            scheduling_s=scheduling_s,
            images_per_scheduling_s=images / scheduling_s if scheduling_s else 0.0,
            wall_s=wall_s,
        )

    def _utilisation(self, pool: int) -> float:
        return self.busy_s[pool] / self.up_s[pool] if self.up_s[pool] else 0.0
