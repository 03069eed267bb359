"""Random numbers per image, independent of how a batch is split over processes.

Every process draws the numbers of the whole batch, which is cheap, and keeps those of its own
images. Shapes: B images in the batch, n of them in this process.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BatchRng"]


@dataclass(frozen=True, slots=True)
class BatchRng:
    """Random numbers for the n images of this process.

    Attributes:
        generator: on the CPU; advances as if all B images were in this process.
        num_images: B, of the whole batch.
        local: this process's images, a slice without step; None for all.
    """

    generator: torch.Generator
    num_images: int
    local: slice | None = None

    def rand(self, *leading: int) -> Tensor:
        """Uniform numbers in [0, 1), [*leading, n]."""
        return self.local_part(torch.rand(*leading, self.num_images, generator=self.generator))

    def randint(self, high: int, *leading: int) -> Tensor:
        """Uniform integers in [0, high), [*leading, n]."""
        size = (*leading, self.num_images)
        return self.local_part(torch.randint(high, size, generator=self.generator))

    def permutation(self) -> Tensor:
        """A random order of this process's images, [n]."""
        order_B = torch.randperm(self.num_images, generator=self.generator)
        return order_B if self.local is None else order_B[self.local].argsort()

    def local_part(self, values_B: Tensor) -> Tensor:
        """The values of this process's images, of values [..., B]."""
        return values_B if self.local is None else values_B[..., self.local]
