"""What a stage takes from the one before it: features and relations (DVT, section 3.2).

Shapes: B images, N upstream tokens, N' own tokens (class token first), L layers, H heads,
D width, g and g' tokens a side upstream and here.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvt.config import CascadeConfig

__all__ = ["FeatureReuse", "RelationReuse", "StageState", "pad_rows", "resize_matrix"]


@dataclass(frozen=True, slots=True)
class StageState:
    """What one stage hands to the next, row by row for the same images.

    Attributes:
        features: [B, N, D], tokens after the last block, before its final LayerNorm; None where
            the cascade does not reuse features.
        relations: [B, L*H, N, N], attention logits before the softmax, channel = layer * H +
            head, including what the stage itself received; None where relations are not reused.
    """

    features: Tensor | None
    relations: Tensor | None

    def __getitem__(self, rows: Tensor | slice) -> Self:
        """The state of some of the images, in the order given."""
        return type(self)(*(None if part is None else part[rows] for part in self.parts))

    def padded(self, num_rows: int) -> Self:
        """The state with rows repeated up to `num_rows`, see `pad_rows`."""
        return type(self)(
            *(None if part is None else pad_rows(part, num_rows) for part in self.parts)
        )

    @property
    def parts(self) -> tuple[Tensor | None, Tensor | None]:
        """Features and relations."""
        return self.features, self.relations

    @property
    def num_bytes(self) -> int:
        """Size in memory."""
        return sum(part.nbytes for part in self.parts if part is not None)

    @classmethod
    def join(cls, states: list[Self]) -> Self:
        """The states of several batches, one behind the other."""
        joined = (
            None if column[0] is None else torch.cat([part for part in column if part is not None])
            for column in zip(*(state.parts for state in states), strict=True)
        )
        return cls(*joined)


def pad_rows(tensor: Tensor, num_rows: int) -> Tensor:
    """The tensor [B, …] with its first row repeated behind it until it has `num_rows` rows."""
    missing = num_rows - len(tensor)
    if missing <= 0:
        return tensor
    return torch.cat([tensor, tensor[:1].expand(missing, *tensor.shape[1:])])


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
    """One block's small network over upstream features: [B, N, D] to [B, N', 48].

    The class token's row is zero: only image tokens inherit.
    """

    def __init__(self, config: CascadeConfig, stage: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.width, config.feature_reuse_hidden)
        self.fc2 = nn.Linear(config.feature_reuse_hidden, config.feature_reuse_width)
        self.resize: Tensor
        resize = resize_matrix(config.grids[stage - 1].size, config.grids[stage].size)
        self.register_buffer("resize", resize, persistent=False)

    def forward(self, features_BND: Tensor) -> Tensor:
        """Upstream features [B, N, D] to [B, N', 48] on the own grid."""
        # The class token's row is dropped before the network, which treats each row alone.
        reused_BGC = self.fc2(F.gelu(self.fc1(self.norm(features_BND[:, 1:]))))
        return F.pad(self.resize @ reused_BGC, (0, 0, 1, 0))


class RelationReuse(nn.Module):
    """Upstream logits [B, L*H, N, N] to additions for all own layers [L, B, H, N', N'].

    An MLP over the channels at every position, then keys and queries resized separately by R,
    extended with a 1 in the corner for the class token. Resizing the flattened map in one go
    is worse than no reuse (DVT, table 5).
    """

    def __init__(self, config: CascadeConfig, stage: int) -> None:
        super().__init__()
        self.depth = config.depth
        channels = config.depth * config.num_heads
        hidden = channels * config.relation_reuse_ratio
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, channels, 1)
        self.resize: Tensor
        resize = resize_matrix(config.grids[stage - 1].size, config.grids[stage].size)
        extended = torch.block_diag(torch.ones(1, 1), resize)
        self.register_buffer("resize", extended, persistent=False)

    def forward(self, relations_BCNN: Tensor) -> Tensor:
        """Upstream logits [B, L*H, N, N] to [L, B, H, N', N']."""
        mixed_BCNN = self.conv2(F.gelu(self.conv1(relations_BCNN)))
        resized_BCNN = self.resize @ mixed_BCNN @ self.resize.T
        by_layer_BLHNN: Tensor = resized_BCNN.unflatten(1, (self.depth, -1))
        return by_layer_BLHNN.transpose(0, 1)
