"""Random numbers of one image: PCG64 with integer seeds, the same on every machine."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["RandomStream"]

Choice = TypeVar("Choice")

# A scene takes some 200 scalars. Drawing each with a call of NumPy would take longer than painting.
_BULK = 256


class RandomStream:
    """A stream of random numbers that depends on its seeds alone.

    Args:
        seeds: each at least 0.
    """

    def __init__(self, *seeds: int) -> None:
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
        """One of the choices, with probability proportional to its integer weight."""
        at = self.between(1, sum(weight for _, weight in choices))
        totals = accumulate(weight for _, weight in choices)
        return choices[sum(total < at for total in totals)][0]
