"""Data parallelism: how the processes of a training share batches and gradients.

Every process holds the whole model and all data; averaged gradients make all take the same steps.
Needs the default process group of `torch.distributed`.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["DataParallel", "all_reduce_sum"]


@dataclass(frozen=True, slots=True)
class DataParallel:
    """One of the processes of a training.

    Attributes:
        rank: from 0.
        num_workers: number of processes.
    """

    rank: int
    num_workers: int

    @classmethod
    def from_process_group(cls) -> "DataParallel":
        """This process in the default group."""
        return cls(dist.get_rank(), dist.get_world_size())

    def local_slice(self, num_images: int) -> slice:
        """This process's images of a batch, contiguous; sizes differ by at most one.

        Raises:
            ValueError: fewer images than processes.
        """
        if num_images < self.num_workers:
            raise ValueError(
                f"workers: must be at most the {num_images} images of a batch "
                f"(got {self.num_workers})"
            )
        start, stop = ((self.rank + more) * num_images // self.num_workers for more in (0, 1))
        return slice(start, stop)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model for forward passes; its backward pass averages gradients over processes."""
        # The feature reuse of the last block has no gradient: only its class token is read.
        return DistributedDataParallel(model, find_unused_parameters=True)

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum over all processes, without gradient."""
        result = values.detach().clone()
        dist.all_reduce(result)
        return result


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        result = values.clone()
        dist.all_reduce(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process's loss depends on the sum, and so on every process's input.
        result = gradient.contiguous().clone()
        dist.all_reduce(result)
        return result


def all_reduce_sum(values: Tensor) -> Tensor:
    """The differentiable sum over all processes."""
    result: Tensor = _AllReduceSum.apply(values)  # type: ignore[no-untyped-call]
    return result
