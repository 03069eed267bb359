"""A training in several processes: who has which share of a batch, and what they tell each other.

Knows `torch.distributed`, whose process group must be there, and not who started the processes.
Every process has the whole model and all data; the gradients are averaged, so that all take the
same steps.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["DataParallel", "summed"]


@dataclass(frozen=True, slots=True)
class DataParallel:
    """One of the processes of a training.

    Attributes:
        rank: its number, from 0.
        num_workers: how many there are.
    """

    rank: int
    num_workers: int

    @classmethod
    def of_process_group(cls) -> "DataParallel":
        """This process in the default group."""
        return cls(dist.get_rank(), dist.get_world_size())

    def share(self, num_images: int) -> slice:
        """Neighbouring images of a batch; shares differ by one at most.

        Raises:
            ValueError: there are fewer images than processes.
        """
        if num_images < self.num_workers:
            raise ValueError(
                f"workers: must be at most the {num_images} pictures of a batch "
                f"(got {self.num_workers})"
            )
        start, stop = ((self.rank + more) * num_images // self.num_workers for more in (0, 1))
        return slice(start, stop)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model for forward passes; its backward pass averages gradients over the processes."""
        # The last block answers by its class token alone: its feature reuse gets no gradient.
        return DistributedDataParallel(model, find_unused_parameters=True)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, in all of them."""
        result = values.detach().clone()
        dist.all_reduce(result)
        return result


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        result = values.clone()
        dist.all_reduce(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process' loss depends on the sum, and so on what each put in.
        result = gradient.contiguous().clone()
        dist.all_reduce(result)
        return result


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, which gradients pass through."""
    result: Tensor = _Summed.apply(values)  # type: ignore[no-untyped-call]
    return result
