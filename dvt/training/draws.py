"""Random numbers for the images of a batch, the same whichever process holds which image.

All numbers of a batch are drawn in every process, which costs next to nothing, and each keeps those
of its own images. Shapes: B images of the batch, n of them here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Draws"]


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws for n of B images.

    Attributes:
        generator: on the processor; moves on by as much as if all B images were here.
        num_images: B, of the whole batch.
        own: which of them are here, a slice without step; all if None.
    """

    generator: torch.Generator
    num_images: int
    own: slice | None = None

    def rand(self, *leading: int) -> Tensor:
        """Numbers from 0 to 1, [*leading, n]."""
        return self.of_batch(torch.rand(*leading, self.num_images, generator=self.generator))

    def randint(self, high: int, *leading: int) -> Tensor:
        """Whole numbers from 0 to below `high`, [*leading, n]."""
        size = (*leading, self.num_images)
        return self.of_batch(torch.randint(high, size, generator=self.generator))

    def permutation(self) -> Tensor:
        """An order of the images that are here, [n]."""
        order_B = torch.randperm(self.num_images, generator=self.generator)
        return order_B if self.own is None else order_B[self.own].argsort()

    def of_batch(self, values_B: Tensor) -> Tensor:
        """Those of the images that are here, of values [..., B]."""
        return values_B if self.own is None else values_B[..., self.own]
