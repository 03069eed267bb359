"""Tokenizers: images [B, 3, S, S] to tokens [B, g*g, D], without class token and positions.

Three kinds: one convolution (`patch`, DeiT), soft splits with token performers (`t2t`, T2T-ViT),
and a stem of convolutions (`conv`; Xiao et al., "Early convolutions help Transformers see better",
arXiv 2106.14881).

Shapes: B images, S pixels per side, C channels, s side of a token map, g tokens a side, D width,
T = 64 channels inside T2T, M random features, P = s*s positions, Z = 3T.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvt.config import T2T_LATER_SPLIT, CascadeConfig, StemConv, TokenGrid

Split = tuple[int, int, int]  # kernel, stride, padding

__all__ = [
    "ConvTokenizer",
    "PatchTokenizer",
    "T2TTokenizer",
    "TokenPerformer",
    "make_tokenizer",
]


class PatchTokenizer(nn.Module):
    """One strided convolution, as in DeiT."""

    def __init__(self, grid: TokenGrid, width: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, grid.kernel, grid.stride, grid.padding)

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Images [B, 3, S, S] to tokens [B, g*g, D]."""
        tokens: Tensor = self.projection(images_B3SS)
        return tokens.flatten(2).transpose(1, 2)


class ConvTokenizer(nn.Module):
    """A stem of convolutions with GELU, then one convolution to D channels.

    Batch normalisation exists in training only: `dvt.training.batch_norm` adds it to the stem and
    finally folds it into the convolutions.
    """

    def __init__(self, stem: tuple[StemConv, ...], grid: TokenGrid, width: int) -> None:
        super().__init__()
        channels = [3, *(conv.channels for conv in stem)]
        self.stem = nn.ModuleList(
            nn.Conv2d(channels[number], conv.channels, conv.kernel, conv.stride, conv.padding)
            for number, conv in enumerate(stem)
        )
        self.is_residual = [conv.residual for conv in stem]
        self.projection = nn.Conv2d(channels[-1], width, grid.kernel, grid.stride, grid.padding)

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Images [B, 3, S, S] to tokens [B, g*g, D]."""
        # CPUs and tensor cores multiply channels-last, which is also the layout of tokens.
        x = images_B3SS.contiguous(memory_format=torch.channels_last)
        for conv, is_residual in zip(self.stem, self.is_residual, strict=True):
            x = x + F.gelu(conv(x)) if is_residual else F.gelu(conv(x))
        tokens: Tensor = self.projection(x)
        return tokens.flatten(2).transpose(1, 2)


class TokenPerformer(nn.Module):
    """Linear attention over the windows of a token map, then an MLP.

    T2T-ViT's token performer, with the positive features exp(Wx - |x|^2 / 2) / sqrt(M) of
    Choromanski et al. (arXiv 2009.14794).
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

    def forward(self, map_BSSC: Tensor, split: Split) -> Tensor:
        """Map [B, s, s, C] and its soft split to the next map [B, s', s', T]."""
        kqv = _normed_pixels if map_BSSC.shape[-1] == 3 else _normed_tokens
        kqv_Bss3T = kqv(map_BSSC, split, self.norm1, self.kqv)
        x_BPT = self.attend(kqv_Bss3T.flatten(1, 2))
        x_BPT = x_BPT + self.mlp(self.norm2(x_BPT))
        x_BssT: Tensor = x_BPT.unflatten(1, kqv_Bss3T.shape[1:3])
        return x_BssT

    def attend(self, kqv_BPZ: Tensor) -> Tensor:
        """Keys, queries and values [B, P, 3T] to attended values [B, P, T]."""
        width = self.proj.in_features
        value_BPT = kqv_BPZ[..., 2 * width :]
        # In 16 bits the exponential would overflow and lose its small values.
        with _full_precision(kqv_BPZ.device):
            key_query = kqv_BPZ[..., : 2 * width].unflatten(-1, (2, width)).float()
            half_norm = key_query.square().sum(-1, keepdim=True) / 2
            # The factor 1 / sqrt(M) of both features cancels, except in the normaliser's 1e-8.
            features_BP2M = torch.exp(key_query @ self.random_features.float().T - half_norm)
            key_BPM, query_BPM = features_BP2M.unbind(2)
            context_BMT = key_BPM.transpose(1, 2) @ value_BPT.float()
            key_sum_BM1 = key_BPM.sum(dim=1).unsqueeze(-1)
            # One product for attended values and, in its last column, their normaliser.
            attended = query_BPM @ torch.cat([context_BMT, key_sum_BM1], dim=-1)
        normaliser = attended[..., width:] + 1e-8 * len(self.random_features)
        attended_BPT = (attended[..., :width] / normaliser).to(value_BPT.dtype)
        return value_BPT + self.proj(attended_BPT)  # type: ignore[no-any-return]


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Disables autocast, which does not support the `meta` device."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def _normed_pixels(map_BSSC: Tensor, split: Split, norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    """LayerNorm and linear layer over every window of pixels, [B, s', s', out].

    Copies the windows, in runs of a row of pixels. Moments from box filters, as in
    `_normed_tokens`, would fail here: in a uniformly white image mean and deviation are 2.6 and 0,
    and 1 / sqrt(eps) = 300 would amplify the rounding error of their difference.
    """
    kernel, stride, padding = split
    padded = F.pad(map_BSSC, (0, 0, padding, padding, padding, padding))
    windows_BssCkk = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)
    windows_BssK = windows_BssCkk.movedim(3, -1).flatten(3)
    shape = (map_BSSC.shape[-1], kernel, kernel)
    weight, bias, columns = (
        part.unflatten(-1, shape).movedim(-3, -1).flatten(-3)
        for part in (norm.weight, norm.bias, linear.weight)
    )
    normed = F.layer_norm(windows_BssK, windows_BssK.shape[-1:], weight, bias, norm.eps)
    return F.linear(normed, columns, linear.bias)


def _normed_tokens(map_BSSC: Tensor, split: Split, norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    """LayerNorm and linear layer over every window of tokens, [B, s', s', out].

    Copies no windows. With LN(x) = (x - mean) / deviation * weight + bias, the linear layer over a
    window is a convolution by centred weights, scaled by 1 / deviation; the moments of all windows
    are box filters of the moments over channels.
    """
    kernel, stride, padding = split
    shape = (map_BSSC.shape[-1], kernel, kernel)
    weight = linear.weight * norm.weight
    centred = (weight - weight.mean(dim=1, keepdim=True)).unflatten(1, shape)
    bias = linear.weight @ norm.bias
    if linear.bias is not None:
        bias = bias + linear.bias
    map_BCSS = map_BSSC.permute(0, 3, 1, 2)
    products_BZss = F.conv2d(map_BCSS, centred, None, stride, padding)
    wide = map_BSSC.float()
    moments_B2SS = torch.stack([wide.mean(-1), wide.square().mean(-1)], dim=1)
    mean, square = F.avg_pool2d(moments_B2SS, kernel, stride, padding).unsqueeze(-1).unbind(1)
    # Rounding may make the variance of nearly equal values negative.
    variance = (square - mean.square()).clamp(min=0)
    inverse_Bss1 = torch.rsqrt(variance + norm.eps).to(map_BSSC.dtype)
    return torch.addcmul(bias, products_BZss.permute(0, 2, 3, 1), inverse_Bss1)


class T2TTokenizer(nn.Module):
    """Three soft splits with a token performer after the first two (T2T-ViT, section 3.1)."""

    def __init__(self, grid: TokenGrid, token_width: int, width: int, num_features: int) -> None:
        super().__init__()
        later_area = T2T_LATER_SPLIT[0] ** 2
        self.first_split = (grid.kernel, grid.stride, grid.padding)
        self.performer1 = TokenPerformer(3 * grid.kernel**2, token_width, num_features)
        self.performer2 = TokenPerformer(token_width * later_area, token_width, num_features)
        self.projection = nn.Linear(token_width * later_area, width)

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Images [B, 3, S, S] to tokens [B, g*g, D]."""
        map_BSST = self.performer1(images_B3SS.permute(0, 2, 3, 1), self.first_split)
        map_BSST = self.performer2(map_BSST, T2T_LATER_SPLIT)
        # A soft split followed by a linear layer is a convolution.
        kernel, stride, padding = T2T_LATER_SPLIT
        weight = self.projection.weight.unflatten(1, (-1, kernel, kernel))
        tokens_BDgg = F.conv2d(
            map_BSST.permute(0, 3, 1, 2), weight, self.projection.bias, stride, padding
        )
        return tokens_BDgg.flatten(2).transpose(1, 2)


def make_tokenizer(
    config: CascadeConfig, stage: int
) -> PatchTokenizer | ConvTokenizer | T2TTokenizer:
    """The tokenizer of one stage (from 0)."""
    grid = config.grids[stage]
    if config.tokenizer == "conv":
        return ConvTokenizer(config.stems[stage], grid, config.width)
    if config.tokenizer == "patch":
        return PatchTokenizer(grid, config.width)
    return T2TTokenizer(grid, config.token_width, config.width, config.random_features)
