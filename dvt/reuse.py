"""What a stage takes from the one before it: features and relations (DVT, section 3.2).

Shapes: B images, G upstream image tokens, N = G + 1 with the class token first, N' own tokens,
L layers, H heads, C = L*H channels, D width, E = 128 hidden and 48 reused channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvt.config import CascadeConfig

__all__ = [
    "FeatureReuse",
    "RelationReuse",
    "StageState",
    "pad_images",
    "resize_matrix",
    "reused_features",
]


@dataclass(frozen=True, slots=True)
class StageState:
    """What one stage hands to the next, in the order of the images.

    Attributes:
        features: [B, G, D], image tokens after the last block, before its final LayerNorm; None
            where the cascade does not reuse features. The class token is not among them: nobody
            downstream reads it.
        relations: [L*H, B, N, N], attention logits before the softmax, including what the stage
            itself received, channel = layer * H + head; None where relations are not reused.
            Channels come first, so that a layer's share and the MLP over channels need no copy.
    """

    features: Tensor | None
    relations: Tensor | None

    def __getitem__(self, rows: Tensor | slice) -> Self:
        """The state of some of the images, in the order given."""
        return type(self)(
            None if self.features is None else self.features[rows],
            None if self.relations is None else self.relations[:, rows],
        )

    def padded(self, num_images: int) -> Self:
        """The state with its first image repeated behind it until it has that many."""
        return type(self)(
            None if self.features is None else pad_images(self.features, num_images),
            None if self.relations is None else pad_images(self.relations, num_images, dim=1),
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The state on a device, in a precision; parts that are so already are not copied."""
        return type(self)(
            None if self.features is None else self.features.to(device, dtype),
            None if self.relations is None else self.relations.to(device, dtype),
        )

    @property
    def num_bytes(self) -> int:
        """Size in memory."""
        parts = (self.features, self.relations)
        return sum(part.nbytes for part in parts if part is not None)

    @classmethod
    def join(cls, states: list[Self]) -> Self:
        """The states of several batches, one behind the other."""
        features = [state.features for state in states if state.features is not None]
        relations = [state.relations for state in states if state.relations is not None]
        return cls(
            torch.cat(features) if features else None,
            torch.cat(relations, dim=1) if relations else None,
        )


def pad_images(tensor: Tensor, num_images: int, dim: int = 0) -> Tensor:
    """The tensor with its first image repeated at the end of `dim` until it has that many."""
    missing = num_images - tensor.shape[dim]
    if missing <= 0:
        return tensor
    sizes = list(tensor.shape)
    sizes[dim] = missing
    return torch.cat([tensor, tensor.narrow(dim, 0, 1).expand(sizes)], dim=dim)


def resize_matrix(upstream_side: int, side: int) -> Tensor:
    """R [side*side, upstream_side*upstream_side] of the published resizing.

    Nearest upsampling to twice the upstream grid, then adaptive average pooling to the own one;
    both are linear, so applying them to unit maps gives the matrix.
    """
    num_upstream = upstream_side**2
    units = torch.eye(num_upstream).reshape(num_upstream, 1, upstream_side, upstream_side)
    doubled = F.interpolate(units, scale_factor=2, mode="nearest")
    return F.adaptive_avg_pool2d(doubled, side).reshape(num_upstream, side**2).T.contiguous()


class FeatureReuse(nn.Module):
    """One block's small network over upstream features; `reused_features` runs those of a stage."""

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.width, config.feature_reuse_hidden)
        self.fc2 = nn.Linear(config.feature_reuse_hidden, config.feature_reuse_width)


def reused_features(
    networks: Sequence[FeatureReuse], features_BGD: Tensor, resize: Tensor
) -> Tensor:
    """What every block inherits: upstream features [B, G, D] to [L, B, N', 48].

    The networks of all blocks read the same features. So these are normalised once, with each
    network's own LayerNorm weight and bias moved into its first layer, and that is one product.

    Args:
        networks: one a block, L of them.
        features_BGD: upstream image tokens.
        resize: R with a zero row in front, [N', G]: the class token inherits nothing.
    """
    weight_LED = torch.stack([net.fc1.weight * net.norm.weight for net in networks])
    bias_LE = torch.stack([net.fc1.bias + net.fc1.weight @ net.norm.bias for net in networks])
    normed_BGD = F.layer_norm(features_BGD, features_BGD.shape[-1:], eps=networks[0].norm.eps)
    hidden = F.gelu(F.linear(normed_BGD, weight_LED.flatten(0, 1), bias_LE.flatten()))
    hidden_LbE = hidden.flatten(0, 1).unflatten(-1, weight_LED.shape[:2]).transpose(0, 1)
    second_LEC = torch.stack([net.fc2.weight.T for net in networks])
    second_L1C = torch.stack([net.fc2.bias for net in networks]).unsqueeze(1)
    reused_LbC = torch.baddbmm(second_L1C, hidden_LbE, second_LEC)
    reused_LBGC: Tensor = reused_LbC.unflatten(1, features_BGD.shape[:2])
    return resize @ reused_LBGC


class RelationReuse(nn.Module):
    """Upstream logits [L*H, B, N, N] to additions for all own layers [L*H, B, N', N'].

    An MLP over the channels at every position, then keys and queries resized separately by R,
    extended with a 1 in the corner for the class token. Resizing the flattened map in one go
    is worse than no reuse (DVT, table 5).
    """

    def __init__(self, config: CascadeConfig, stage: int) -> None:
        super().__init__()
        channels = config.depth * config.num_heads
        hidden = channels * config.relation_reuse_ratio
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, channels, 1)
        self.resize: Tensor
        resize = resize_matrix(config.grids[stage - 1].size, config.grids[stage].size)
        extended = torch.block_diag(torch.ones(1, 1), resize)
        self.register_buffer("resize", extended, persistent=False)

    def forward(self, relations_CBNN: Tensor) -> Tensor:
        """Upstream logits [L*H, B, N, N] to [L*H, B, N', N'].

        With the channels first, the convolutions over single positions are one product each. The
        resizing comes after the MLP, where there are three times fewer channels.
        """
        mixed = F.gelu(_over_channels(self.conv1, relations_CBNN.flatten(1)))
        mixed = _over_channels(self.conv2, mixed)
        mixed_CBNN: Tensor = mixed.unflatten(1, relations_CBNN.shape[1:])
        return self.resize @ (mixed_CBNN @ self.resize.T)


def _over_channels(conv: nn.Conv2d, maps_CX: Tensor) -> Tensor:
    assert conv.bias is not None
    return torch.addmm(conv.bias.unsqueeze(1), conv.weight.flatten(1), maps_CX)
