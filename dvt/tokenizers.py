"""From an image to a grid of tokens: one convolution (DeiT), or soft splits (T2T-ViT).

Shapes: B images, S pixels a side, g tokens a side, D width, T = 64 channels inside T2T,
M random features, P = side*side positions of a token map.
Knows nothing of class tokens or positions; a `Stage` adds those.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvt.config import T2T_LATER_SPLIT, CascadeConfig, TokenGrid

__all__ = ["PatchTokenizer", "T2TTokenizer", "TokenPerformer", "make_tokenizer"]


class PatchTokenizer(nn.Module):
    """One strided convolution, as in DeiT: images [B, 3, S, S] to tokens [B, g*g, D]."""

    def __init__(self, grid: TokenGrid, width: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, grid.kernel, grid.stride, grid.padding)

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Images [B, 3, S, S] to tokens [B, g*g, D]."""
        tokens: Tensor = self.projection(images_B3SS)
        return tokens.flatten(2).transpose(1, 2)


class TokenPerformer(nn.Module):
    """Linear attention over one token map with fixed random features, then an MLP.

    Source: T2T-ViT's token performer after Choromanski et al. (arXiv 2009.14794): positive
    features exp(Wx - |x|^2 / 2) / sqrt(M).
    """

    def __init__(self, window_width: int, width: int, num_features: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(window_width)
        self.kqv = nn.Linear(window_width, 3 * width)  # key, query, value, in this order
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        features = torch.empty(num_features, width)
        nn.init.orthogonal_(features)
        self.random_features: Tensor
        self.register_buffer("random_features", features * math.sqrt(num_features))

    def _positive_features(self, x_BPT: Tensor) -> Tensor:
        # The exponential overflows and loses its small values in 16 bits.
        x_BPT = x_BPT.float()
        projected_BPM = x_BPT @ self.random_features.float().T
        half_norm_BP1 = x_BPT.square().sum(-1, keepdim=True) / 2
        return torch.exp(projected_BPM - half_norm_BP1) / math.sqrt(len(self.random_features))

    def forward(self, windows_BPK: Tensor) -> Tensor:
        """Windows [B, P, channels*kernel*kernel] to tokens [B, P, T]."""
        key_BPT, query_BPT, value_BPT = self.kqv(self.norm1(windows_BPK)).chunk(3, dim=-1)
        key_BPM, query_BPM = self._positive_features(key_BPT), self._positive_features(query_BPT)
        context_BMT = key_BPM.transpose(1, 2) @ value_BPT.float()
        normaliser_BP1 = query_BPM @ key_BPM.sum(dim=1).unsqueeze(-1) + 1e-8
        attended_BPT = ((query_BPM @ context_BMT) / normaliser_BP1).to(value_BPT.dtype)
        x_BPT = value_BPT + self.proj(attended_BPT)
        return x_BPT + self.mlp(self.norm2(x_BPT))  # type: ignore[no-any-return]


class T2TTokenizer(nn.Module):
    """Three soft splits with a token performer after the first two (T2T-ViT, section 3.1).

    Images [B, 3, S, S] to tokens [B, g*g, D].
    """

    def __init__(self, grid: TokenGrid, token_width: int, width: int, num_features: int) -> None:
        super().__init__()
        later_area = T2T_LATER_SPLIT[0] ** 2
        self.first_split = (grid.kernel, grid.stride, grid.padding)
        self.performer1 = TokenPerformer(3 * grid.kernel**2, token_width, num_features)
        self.performer2 = TokenPerformer(token_width * later_area, token_width, num_features)
        self.projection = nn.Linear(token_width * later_area, width)

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Images [B, 3, S, S] to tokens [B, g*g, D]."""
        x_BPT = self.performer1(_soft_split(images_B3SS, self.first_split))
        x_BPT = self.performer2(_soft_split(_as_map(x_BPT), T2T_LATER_SPLIT))
        tokens_BGD: Tensor = self.projection(_soft_split(_as_map(x_BPT), T2T_LATER_SPLIT))
        return tokens_BGD


def _soft_split(map_BCSS: Tensor, split: tuple[int, int, int]) -> Tensor:
    """Every window of the map flattened to one row: [B, P, C*kernel*kernel]."""
    kernel, stride, padding = split
    return F.unfold(map_BCSS, kernel, stride=stride, padding=padding).transpose(1, 2)


def _as_map(tokens_BPT: Tensor) -> Tensor:
    """Tokens [B, P, T] back on their square grid: [B, T, side, side]."""
    num_images, num_positions, width = tokens_BPT.shape
    side = math.isqrt(num_positions)
    return tokens_BPT.transpose(1, 2).reshape(num_images, width, side, side)


def make_tokenizer(config: CascadeConfig, stage: int) -> PatchTokenizer | T2TTokenizer:
    """The tokenizer of one stage (from 0)."""
    grid = config.grids[stage]
    if config.tokenizer == "patch":
        return PatchTokenizer(grid, config.width)
    return T2TTokenizer(grid, config.token_width, config.width, config.random_features)
