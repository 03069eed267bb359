"""Batch normalisation in the stem of a `conv` tokenizer, in training only.

After a convolution, with the moments collected in training, it is a factor and an offset per
channel. `fold_batch_norm` moves these into the convolution's weight and bias.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dvt.cascade import Cascade
from dvt.tokenizers import ConvTokenizer
from dvt.training.parallel import all_reduce_sum

__all__ = ["NormalisedConv", "add_batch_norm", "fold_batch_norm"]

_EPS = 1e-5


class _SyncBatchNorm(nn.BatchNorm2d):
    """Computes moments over the images of all processes; unlike torch's, also on the CPU."""

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Normalised channels."""
        if not self.training:
            return super().forward(x_BCSS)
        axes, x = (0, 2, 3), x_BCSS.float()
        count = all_reduce_sum(x.new_tensor([x.numel() / x.shape[1]]))
        mean = all_reduce_sum(x.sum(axes)) / count
        centred = x - mean.view(1, -1, 1, 1)
        variance = all_reduce_sum(centred.square().sum(axes)) / count
        with torch.no_grad():
            for running, new in (
                (self.running_mean, mean),
                (self.running_var, variance * count / (count - 1)),
            ):
                assert running is not None
                running.lerp_(new, self.momentum or 0.0)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalised = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normalised.to(x_BCSS.dtype)


class NormalisedConv(nn.Module):
    """A convolution without bias, followed by batch normalisation."""

    def __init__(self, conv: nn.Conv2d, synchronise: bool) -> None:
        super().__init__()
        self.conv = conv
        self.conv.bias = None
        kind = _SyncBatchNorm if synchronise else nn.BatchNorm2d
        self.norm = kind(conv.out_channels, eps=_EPS)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Normalised channels."""
        normalised: Tensor = self.norm(self.conv(x_BCSS))
        return normalised


def add_batch_norm(model: Cascade, synchronise: bool = False) -> None:
    """Adds batch normalisation after every convolution of the stems, whose biases it replaces.

    Args:
        model: changed in place.
        synchronise: compute moments over all processes of the default group.
    """
    for tokenizer in model.modules():
        if isinstance(tokenizer, ConvTokenizer):
            convs = [conv for conv in tokenizer.stem if isinstance(conv, nn.Conv2d)]
            tokenizer.stem = nn.ModuleList(NormalisedConv(conv, synchronise) for conv in convs)


def fold_batch_norm(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the equivalent model without batch normalisation."""
    weights = {key: value for key, value in state_dict.items() if ".norm.running_var" not in key}
    for key in state_dict:
        if not key.endswith(".norm.running_var"):
            continue
        prefix = key.removesuffix("norm.running_var")
        factor, offset, mean = (
            weights.pop(f"{prefix}norm.{name}") for name in ("weight", "bias", "running_mean")
        )
        weights.pop(f"{prefix}norm.num_batches_tracked")
        scale = factor * torch.rsqrt(state_dict[key] + _EPS)
        weights[f"{prefix}weight"] = weights.pop(f"{prefix}conv.weight") * scale.view(-1, 1, 1, 1)
        weights[f"{prefix}bias"] = offset - mean * scale
    return weights
