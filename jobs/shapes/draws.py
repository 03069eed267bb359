"""The random draws behind one picture: PCG64, seeded with integers, the same on every machine.

Scenes take some two hundred scalars each. They come from uniform doubles drawn in bulk, because a
call of NumPy's generator for each would take longer than the painting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draws"]

Choice = TypeVar("Choice")

_BULK = 256


class Draws:
    """A stream of draws that follows from its seeds alone."""

    def __init__(self, *seeds: int) -> None:
        """Starts the stream of `seeds`, each at least 0."""
        self._generator = np.random.Generator(np.random.PCG64(seeds))
        self._scalars = self._stream()

    def _stream(self) -> Iterator[float]:
        while True:
            yield from self._generator.random(_BULK).tolist()

    def share(self) -> float:
        """Uniform in [0, 1)."""
        return next(self._scalars)

    def between(self, low: int, high: int) -> int:
        """Uniform over the integers low..high, both included."""
        return low + int(next(self._scalars) * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return next(self._scalars) < probability

    def sign(self) -> int:
        """-1 or 1."""
        return 1 if next(self._scalars) < 0.5 else -1

    def order(self, length: int) -> list[int]:
        """The numbers 0..length-1 in random order."""
        keys = [next(self._scalars) for _ in range(length)]
        return sorted(range(length), key=keys.__getitem__)

    def grid(self, amplitude: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Uniform integers in -amplitude..amplitude, int64 of this shape."""
        return self._generator.integers(-amplitude, amplitude + 1, shape)

    def levels(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Uniform bytes, uint8 of this shape."""
        drawn = np.frombuffer(self._generator.bytes(int(np.prod(shape))), dtype=np.uint8)
        return drawn.reshape(shape)

    def weighted(self, choices: Sequence[tuple[Choice, int]]) -> Choice:
        """One of the choices, with a probability in proportion to its integer weight."""
        at = self.between(1, sum(weight for _, weight in choices))
        totals = accumulate(weight for _, weight in choices)
        return choices[sum(total < at for total in totals)][0]
