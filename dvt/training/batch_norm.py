"""Batch normalisation in the stem of a `conv` tokenizer: there in training, folded away after it.

Behind a convolution, with the moments collected in training, it is a factor and an addend a
channel, which the convolution's own weight and bias take over exactly.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dvt.cascade import Cascade
from dvt.tokenizers import ConvTokenizer

__all__ = ["NormedConv", "add_batch_norm", "folded"]

_EPS = 1e-5


class NormedConv(nn.Module):
    """A convolution without bias, and batch normalisation."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.conv.bias = None
        self.norm = nn.BatchNorm2d(conv.out_channels, eps=_EPS)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Normalised channels."""
        normed: Tensor = self.norm(self.conv(x_BCSS))
        return normed


def add_batch_norm(model: Cascade) -> None:
    """Puts it behind every convolution of the stems, in place; bias is dropped."""
    for tokenizer in model.modules():
        if isinstance(tokenizer, ConvTokenizer):
            convs = [conv for conv in tokenizer.stem if isinstance(conv, nn.Conv2d)]
            tokenizer.stem = nn.ModuleList(NormedConv(conv) for conv in convs)


def folded(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the model without batch normalisation that computes the same."""
    weights = {key: value for key, value in state_dict.items() if ".norm.running_var" not in key}
    for key in state_dict:
        if not key.endswith(".norm.running_var"):
            continue
        prefix = key.removesuffix("norm.running_var")
        factor, addend, mean = (
            weights.pop(f"{prefix}norm.{name}") for name in ("weight", "bias", "running_mean")
        )
        weights.pop(f"{prefix}norm.num_batches_tracked")
        scale = factor * torch.rsqrt(state_dict[key] + _EPS)
        weights[f"{prefix}weight"] = weights.pop(f"{prefix}conv.weight") * scale.view(-1, 1, 1, 1)
        weights[f"{prefix}bias"] = addend - mean * scale
    return weights
