"""Reuse of the previous stage's features and relations (DVT, section 3.2).

Shapes: B images, b = B*G, G upstream image tokens, N = G + 1 with the class token first, N' tokens
of this stage, L layers, H heads, C = L*H channels, X = B*N*N positions, D width, E = 128 hidden and
48 reused channels.
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
    "StateShape",
    "pad_images",
    "resize_matrix",
    "reused_features",
]


@dataclass(frozen=True, slots=True)
class StateShape:
    """Size of one image's state.

    Attributes:
        num_features: G*D, values of `features`; 0 if there are none.
        num_channels: L*H of `relations`; 0 if there are none.
        num_tokens: N of `relations`.
        num_logits: C, values of `logits`; 0 if there are none.
    """

    num_features: int = 0
    num_channels: int = 0
    num_tokens: int = 0
    num_logits: int = 0


@dataclass(frozen=True, slots=True)
class StageState:
    """What one stage passes to the next, in the order of the images.

    Attributes:
        features: [B, G, D], image tokens after the last block, before the final LayerNorm; None
            without feature reuse. The class token is left out because no stage reads it.
        relations: [L*H, B, N, N], attention logits before the softmax, including the relations
            this stage received, channel = layer * H + head; None without relationship reuse.
            Channels come first, so a layer's share and the MLP over channels need no copy.
        logits: [B, num_classes] float32 of the exit, which the next one adds to its own; None if it
            does not (`dvt.members`).
    """

    features: Tensor | None
    relations: Tensor | None
    logits: Tensor | None = None

    def __getitem__(self, rows: Tensor | slice) -> Self:
        """The state of some of the images, in the order given."""
        return type(self)(
            None if self.features is None else self.features[rows],
            None if self.relations is None else self.relations[:, rows],
            None if self.logits is None else self.logits[rows],
        )

    def padded(self, num_images: int) -> Self:
        """The state padded to `num_images` by repeating its first image."""
        return type(self)(
            None if self.features is None else pad_images(self.features, num_images),
            None if self.relations is None else pad_images(self.relations, num_images, dim=1),
            None if self.logits is None else pad_images(self.logits, num_images),
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The state on a device, in a precision, logits in float32; copies only what changes."""
        return type(self)(
            None if self.features is None else self.features.to(device, dtype),
            None if self.relations is None else self.relations.to(device, dtype),
            None if self.logits is None else self.logits.to(device),
        )

    @classmethod
    def join(cls, states: list[Self]) -> Self:
        """The concatenated states of several batches."""
        features = [state.features for state in states if state.features is not None]
        relations = [state.relations for state in states if state.relations is not None]
        logits = [state.logits for state in states if state.logits is not None]
        return cls(
            torch.cat(features) if features else None,
            torch.cat(relations, dim=1) if relations else None,
            torch.cat(logits) if logits else None,
        )


def pad_images(tensor: Tensor, num_images: int, dim: int = 0) -> Tensor:
    """The tensor padded to `num_images` along `dim` by repeating its first image."""
    missing = num_images - tensor.shape[dim]
    if missing <= 0:
        return tensor
    sizes = list(tensor.shape)
    sizes[dim] = missing
    return torch.cat([tensor, tensor.narrow(dim, 0, 1).expand(sizes)], dim=dim)


def resize_matrix(upstream_side: int, side: int) -> Tensor:
    """The published resizing as a matrix R [side*side, upstream_side*upstream_side].

    Nearest upsampling to twice the upstream grid, then adaptive average pooling to this stage's
    grid. Both are linear, so applying them to unit maps gives the matrix.
    """
    num_upstream = upstream_side**2
    units = torch.eye(num_upstream).reshape(num_upstream, 1, upstream_side, upstream_side)
    doubled = F.interpolate(units, scale_factor=2, mode="nearest")
    return F.adaptive_avg_pool2d(doubled, side).reshape(num_upstream, side**2).T.contiguous()


class FeatureReuse(nn.Module):
    """One block's network over upstream features; `reused_features` runs all of a stage."""

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.width, config.feature_reuse_hidden)
        self.fc2 = nn.Linear(config.feature_reuse_hidden, config.feature_reuse_width)


def reused_features(
    networks: Sequence[FeatureReuse], features_BGD: Tensor, resize: Tensor
) -> Tensor:
    """Upstream features [B, G, D] to the reused features of every block [L, B, N', 48].

    All networks read the same features, which are therefore normalised once. Each network's
    LayerNorm weight and bias move into its first layer, and the first layers are one product.

    Args:
        networks: one per block, L of them.
        features_BGD: upstream image tokens.
        resize: R with a leading zero row, [N', G]: the class token reuses nothing.
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
    """Upstream logits [L*H, B, N, N] to additions to all logits of this stage [L*H, B, N', N'].

    An MLP over the channels at every position, then R (extended by a 1 in the corner for the class
    token) resizes keys and queries separately. Resizing the flattened map at once is worse than no
    reuse (DVT, table 5).
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

        With the channels first, each 1x1 convolution is one product. The resizing follows the MLP,
        where there are three times fewer channels.
        """
        mixed = F.gelu(_over_channels(self.conv1, relations_CBNN.flatten(1)))
        mixed = _over_channels(self.conv2, mixed)
        mixed_CBNN: Tensor = mixed.unflatten(1, relations_CBNN.shape[1:])
        return self.resize @ (mixed_CBNN @ self.resize.T)


def _over_channels(conv: nn.Conv2d, maps_CX: Tensor) -> Tensor:
    assert conv.bias is not None
    return torch.addmm(conv.bias.unsqueeze(1), conv.weight.flatten(1), maps_CX)
