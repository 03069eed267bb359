"""The simulated archive: shards of images whose exits follow from their numbers and the seed.

Nothing is stored, so a billion images take no memory, and an image that is processed again takes
the same exit again.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.scheduling import Rows
from pipeline.simulation.scenario import Scenario

__all__ = ["KILLS", "Archive", "Exits", "Images"]

Exits = NDArray[np.int8]

KILLS = 64
"""Added to the exit of an image that kills its actor in that stage."""

_DRIFT_WAVES = 3


@dataclass(frozen=True, slots=True)
class Images:
    """Images in a staged queue (`pipeline.cascade.staged_queue.Rows`).

    Attributes:
        row_ids: block and row of each, [n].
        exits: stage, from 0, at which each leaves, [n].
    """

    row_ids: NDArray[np.int64]
    exits: Exits

    def __len__(self) -> int:
        return len(self.row_ids)

    def cut(self, start: int, stop: int) -> Self:
        """The images start..stop-1."""
        return type(self)(self.row_ids[start:stop], self.exits[start:stop])

    @classmethod
    def join(cls, parts: "list[Self]") -> Self:
        """Several groups of images, in their order."""
        return cls(
            np.concatenate([part.row_ids for part in parts]),
            np.concatenate([part.exits for part in parts]),
        )


class Archive:
    """Shards of a scenario.

    Args:
        scenario: number of images, exits, drift, poison and seed.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._seed = np.uint64(scenario.seed * 2 + 1)
        self._bounds = np.cumsum(scenario.exits)[:-1]
        self._length = scenario.shard_images
        self.num_shards = -(-scenario.images // self._length)

    def length(self, shard: int) -> int:
        """Images in a shard; the last one has what is left."""
        return min(self._length, self._scenario.images - shard * self._length)

    def exits(self, shard: int, rows: Rows) -> Exits:
        """The stage, from 0, at which each image leaves; `KILLS` more if it kills its actor."""
        numbers = rows + shard * self._length
        uniform = _uniform(numbers, self._seed)
        if self._scenario.drift:
            position = shard * self._length / max(1, self._scenario.images)
            hardness = self._scenario.drift * np.sin(2 * np.pi * _DRIFT_WAVES * position)
            uniform = uniform ** np.exp(hardness)
        exits = np.searchsorted(self._bounds, uniform, side="right").astype(np.int8)
        if self._scenario.poison:
            kills = _uniform(numbers, self._seed + np.uint64(2**32)) < self._scenario.poison
            exits[kills] += KILLS
        return exits


def _uniform(numbers: Rows, seed: np.uint64) -> NDArray[np.float64]:
    """Hashes numbers to [0, 1) with the finaliser of SplitMix64."""
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + seed
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
