"""What is counted while a scenario runs, and the figures made of it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.scheduling import DECODERS
from pipeline.simulation.scenario import Scenario
from pipeline.simulation.workers import SimulatedActor

__all__ = ["Figures", "PoolFigures", "SimulationCounts"]


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """One pool.

    Attributes:
        pool: its stages, or "decode".
        utilisation: share of the time its actors were up that they worked.
        filled: share of the rows of its batches that were images; None for decoders.
        peak_queue_bytes: of all that waited for it or was in it, and room that was kept.
    """

    pool: str
    utilisation: float
    filled: float | None
    peak_queue_bytes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a scenario came to.

    Attributes:
        images: in the archive; each of them ended once.
        given_up: of those, found to kill actors.
        virtual_s: from start to end.
        images_per_virtual_s: throughput.
        pools: decoders first.
        decoded_again: images decoded more than once, each time counted.
        run_again: images given to an actor of a pool more than once, each time counted.
        answers_lost: answered, but not committed when the coordinator died.
        faults: how many of each kind.
        steps: events.
        scheduling_s: seconds of one processor core spent in the scheduler.
        images_per_scheduling_s: how many images a second it could schedule.
        wall_s: real seconds of the whole simulation.
    """

    images: int
    given_up: int
    virtual_s: float
    images_per_virtual_s: float
    pools: tuple[PoolFigures, ...]
    decoded_again: int
    run_again: int
    answers_lost: int
    faults: dict[str, int]
    steps: int
    scheduling_s: float
    images_per_scheduling_s: float
    wall_s: float


@dataclass(slots=True)
class SimulationCounts:
    """Counts.

    Attributes:
        scenario: that runs.
        computed: images and batches of each stage, [stages, 2].
        num_given: images given to actors of each pool.
        num_forwarded: images that came to each pool in bundles.
        peak_bytes: of each queue.
        busy_s, up_s: of actors that are gone, by pool.
    """

    scenario: Scenario
    num_answered: int = 0
    num_given_up: int = 0
    num_decoded: int = 0
    num_answers_lost: int = 0
    num_steps: int = 0
    scheduling_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    computed: NDArray[np.int64] = field(init=False)
    num_given: list[int] = field(init=False)
    num_forwarded: list[int] = field(init=False)
    peak_bytes: list[int] = field(init=False)
    busy_s: dict[int, float] = field(init=False)
    up_s: dict[int, float] = field(init=False)

    def __post_init__(self) -> None:
        """Starts at zero."""
        num_pools = len(self.scenario.actors)
        self.computed = np.zeros((len(self.scenario.stage_ms), 2), dtype=np.int64)
        self.num_given, self.num_forwarded = [0] * num_pools, [0] * num_pools
        self.peak_bytes = [0] * num_pools
        self.busy_s = dict.fromkeys(range(DECODERS, num_pools), 0.0)
        self.up_s = dict.fromkeys(range(DECODERS, num_pools), 0.0)

    def retire(self, actor: SimulatedActor, now_s: float) -> None:
        """An actor's time is over."""
        running_s = now_s - actor.up_since_s if actor.is_alive else 0.0
        self.busy_s[actor.pool] += actor.busy_s
        self.up_s[actor.pool] += actor.up_s + running_s

    def figures(self, now_s: float, wall_s: float) -> Figures:
        """The sums, once all actors have been retired."""
        images = self.scenario.images
        decoded_ok = self.num_given[0]
        again = self.num_decoded - images
        run_again = (
            decoded_ok
            - images
            + sum(
                given - forwarded
                for given, forwarded in zip(self.num_given[1:], self.num_forwarded[1:], strict=True)
            )
        )
        pools = [PoolFigures("decode", self._utilisation(DECODERS), None, 0)]
        for pool, (first, last) in enumerate(self.scenario.stage_ranges):
            num_images, num_batches = self.computed[first - 1 : last].sum(axis=0).tolist()
            rows = num_batches * self.scenario.batch_size
            name = str(first) if first == last else f"{first}-{last}"
            pools.append(
                PoolFigures(
                    name,
                    self._utilisation(pool),
                    num_images / rows if rows else 0.0,
                    self.peak_bytes[pool],
                )
            )
        return Figures(
            images=images,
            given_up=self.num_given_up,
            virtual_s=now_s,
            images_per_virtual_s=images / now_s if now_s else 0.0,
            pools=tuple(pools),
            decoded_again=again,
            run_again=run_again,
            answers_lost=self.num_answers_lost,
            faults=dict(self.faults),
            steps=self.num_steps,
            scheduling_s=self.scheduling_s,
            images_per_scheduling_s=images / self.scheduling_s if self.scheduling_s else 0.0,
            wall_s=wall_s,
        )

    def _utilisation(self, pool: int) -> float:
        return self.busy_s[pool] / self.up_s[pool] if self.up_s[pool] else 0.0
