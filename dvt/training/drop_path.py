"""Stochastic depth: training skips a block's attention or MLP for some images.

Source: Huang et al., arXiv 1603.09382; the rate rises linearly with the layer, as in DeiT.
Shapes: B images, N tokens, D width.
"""

from torch import Tensor, nn

from dvt.block import Block
from dvt.cascade import Cascade
from dvt.training.batch_rng import BatchRng

__all__ = ["add_drop_path"]


def add_drop_path(model: Cascade, rate: float, rng: BatchRng) -> None:
    """Drops residual branches of all blocks at random while the model is in training mode.

    A branch ends in `attention.proj` or `fc2`. Their output is scaled up in training, so inference
    needs no correction.

    Args:
        model: changed in place.
        rate: of a stage's last block; lower for earlier blocks.
        rng: chooses the images; a forward pass in training must have as many images.
    """
    for stage in model.stages:
        blocks = [block for block in stage.modules() if isinstance(block, Block)]
        for layer, block in enumerate(blocks):
            block_rate = rate * (layer + 1) / len(blocks)
            for end in (block.attention.proj, block.fc2):
                end.register_forward_hook(_DropPath(block_rate, rng))


class _DropPath:
    """A forward hook that zeroes some images' rows and scales up the others."""

    def __init__(self, rate: float, rng: BatchRng) -> None:
        self._rate, self._rng = rate, rng

    def __call__(self, module: nn.Module, inputs: object, branch_BND: Tensor) -> Tensor:
        if not module.training or self._rate == 0:
            return branch_BND
        kept_B = self._rng.rand() >= self._rate
        scale_B = kept_B / (1 - self._rate)
        return branch_BND * scale_B.to(branch_BND).view(-1, 1, 1)
