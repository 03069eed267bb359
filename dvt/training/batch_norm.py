"""Batch normalisation in the stem of a `conv` tokenizer: there in training, folded away after it.

Behind a convolution, with the moments collected in training, it is a factor and an addend a
channel, which the convolution's own weight and bias take over exactly.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dvt.cascade import Cascade
from dvt.tokenizers import ConvTokenizer
from dvt.training.parallel import summed

__all__ = ["NormedConv", "add_batch_norm", "folded"]

_EPS = 1e-5


class _SharedBatchNorm(nn.BatchNorm2d):
    """Its moments in training are of the images of all processes; on any device."""

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Normalised channels."""
        if not self.training:
            return super().forward(x_BCSS)
        axes, x = (0, 2, 3), x_BCSS.float()
        count = summed(x.new_tensor([x.numel() / x.shape[1]]))
        mean = summed(x.sum(axes)) / count
        centred = x - mean.view(1, -1, 1, 1)
        variance = summed(centred.square().sum(axes)) / count
        with torch.no_grad():
            for kept, new in (
                (self.running_mean, mean),
                (self.running_var, variance * count / (count - 1)),
            ):
                assert kept is not None
                kept.lerp_(new, self.momentum or 0.0)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normed = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normed.to(x_BCSS.dtype)


class NormedConv(nn.Module):
    """A convolution without bias, and batch normalisation."""

    def __init__(self, conv: nn.Conv2d, is_shared: bool) -> None:
        super().__init__()
        self.conv = conv
        self.conv.bias = None
        kind = _SharedBatchNorm if is_shared else nn.BatchNorm2d
        self.norm = kind(conv.out_channels, eps=_EPS)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Normalised channels."""
        normed: Tensor = self.norm(self.conv(x_BCSS))
        return normed


def add_batch_norm(model: Cascade, is_shared: bool = False) -> None:
    """Puts it behind every convolution of the stems, in place; bias is dropped.

    Args:
        model: changed in place.
        is_shared: whether a batch is spread over the processes of the default group.
    """
    for tokenizer in model.modules():
        if isinstance(tokenizer, ConvTokenizer):
            convs = [conv for conv in tokenizer.stem if isinstance(conv, nn.Conv2d)]
            tokenizer.stem = nn.ModuleList(NormedConv(conv, is_shared) for conv in convs)


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
