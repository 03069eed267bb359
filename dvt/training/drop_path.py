"""Stochastic depth: in training, a block's attention or MLP is left out for some images.

Source: Huang et al., arXiv 1603.09382; the rate rises linearly with the layer, as in DeiT.
"""

import torch
from torch import Tensor, nn

from dvt.block import Block
from dvt.cascade import Cascade

__all__ = ["add_drop_path"]


def add_drop_path(model: Cascade, rate: float, generator: torch.Generator) -> None:
    """Makes the residual branches of all blocks drop out while the model is in training mode.

    A branch ends in `attention.proj` or `fc2`; what these give is scaled, so that nothing has to
    be known of it in inference.

    Args:
        model: changed in place.
        rate: of the last block of a stage; the first has 0.
        generator: on the processor; decides which images.
    """
    for stage in model.stages:
        blocks = [block for block in stage.modules() if isinstance(block, Block)]
        for layer, block in enumerate(blocks):
            own_rate = rate * (layer + 1) / len(blocks)
            for end in (block.attention.proj, block.fc2):
                end.register_forward_hook(_Dropped(own_rate, generator))


class _Dropped:
    """A forward hook that zeroes some images' rows and scales up the others."""

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        self._rate, self._generator = rate, generator

    def __call__(self, module: nn.Module, inputs: object, branch_BND: Tensor) -> Tensor:
        if not module.training or self._rate == 0:
            return branch_BND
        kept_B = torch.rand(len(branch_BND), generator=self._generator) >= self._rate
        scale_B = kept_B / (1 - self._rate)
        return branch_BND * scale_B.to(branch_BND).view(-1, 1, 1)
