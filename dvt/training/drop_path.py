"""Stochastic depth: in training, a block's attention or MLP is left out for some images.

Source: Huang et al., arXiv 1603.09382; the rate rises linearly with the layer, as in DeiT.
"""

from torch import Tensor, nn

from dvt.block import Block
from dvt.cascade import Cascade
from dvt.training.draws import Draws

__all__ = ["add_drop_path"]


def add_drop_path(model: Cascade, rate: float, draws: Draws) -> None:
    """Makes the residual branches of all blocks drop out while the model is in training mode.

    A branch ends in `attention.proj` or `fc2`; what these give is scaled, so that nothing has to
    be known of it in inference.

    Args:
        model: changed in place.
        rate: of the last block of a stage; the first has 0.
        draws: decide which images; a forward pass in training is of as many as these are for.
    """
    for stage in model.stages:
        blocks = [block for block in stage.modules() if isinstance(block, Block)]
        for layer, block in enumerate(blocks):
            own_rate = rate * (layer + 1) / len(blocks)
            for end in (block.attention.proj, block.fc2):
                end.register_forward_hook(_Dropped(own_rate, draws))


class _Dropped:
    """A forward hook that zeroes some images' rows and scales up the others."""

    def __init__(self, rate: float, draws: Draws) -> None:
        self._rate, self._draws = rate, draws

    def __call__(self, module: nn.Module, inputs: object, branch_BND: Tensor) -> Tensor:
        if not module.training or self._rate == 0:
            return branch_BND
        kept_B = self._draws.rand() >= self._rate
        scale_B = kept_B / (1 - self._rate)
        return branch_BND * scale_B.to(branch_BND).view(-1, 1, 1)
