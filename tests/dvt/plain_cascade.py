"""A plain implementation of the cascade: the reference for results and speed.

Written from the paper (DVT, arXiv 2105.15075; T2T-ViT, arXiv 2101.11986) for whoever wants to
read what the model computes. Float32, functions over a state dict, every formula where it is
used, no regard for speed. It shares no code with `dvt/` but the configuration.

Shapes: B images, S pixels per side, P positions of a token map, K values of a window, T = 64
channels inside the T2T tokenizer, M random features, G = g*g image tokens, N = G + 1 tokens with
the class token first, D width, L layers, H heads, d = D / H. A prime or `up` marks upstream.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.config import CascadeConfig, TokenGrid

__all__ = ["PlainOutput", "plain_cascade", "plain_stage", "resize_matrix"]

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class PlainOutput:
    """Logits [B, classes], features [B, N, D], and relations [B, L*H, N, N] of one stage.

    The relations of the last stage are None; no stage reads them.
    """

    logits: Tensor
    features: Tensor
    relations: Tensor | None


def plain_cascade(config: CascadeConfig, weights: Weights, images: Tensor) -> list[PlainOutput]:
    """All stages at full depth on images [B, 3, S, S]; the weights are `Cascade.state_dict()`."""
    outputs: list[PlainOutput] = []
    for stage in range(config.num_stages):
        upstream = outputs[-1] if outputs else None
        outputs.append(plain_stage(config, stage, weights, images, upstream))
    return outputs


def plain_stage(
    config: CascadeConfig,
    stage: int,
    weights: Weights,
    images: Tensor,
    upstream: PlainOutput | None,
) -> PlainOutput:
    """Stage `stage` (from 0): a pre-norm Transformer over its own tokens."""
    own = _below(weights, f"stages.{stage}")
    grid = config.grids[stage]
    tokens_BGD = _tokens(config, grid, _below(own, "tokenizer"), images)
    class_token_B1D = own["class_token"].expand(len(images), 1, config.width)
    x_BND = torch.cat([class_token_B1D, tokens_BGD], dim=1) + own["positions"]
    added_BLHNN = None
    if config.reuses_relations(stage):
        assert upstream is not None
        assert upstream.relations is not None
        reuse = _below(own, "relation_reuse")
        added_BLHNN = _reused_relations(config, stage, reuse, upstream.relations)
    relations = []
    for layer in range(config.depth):
        block = _below(own, f"blocks.{layer}")
        logits_BHNN, x_BND = _attention(
            config, block, x_BND, None if added_BLHNN is None else added_BLHNN[:, layer]
        )
        relations.append(logits_BHNN)
        widened = x_BND
        if config.reuses_features(stage):
            assert upstream is not None
            reuse = _below(block, "feature_reuse")
            reused_BNC = _reused_features(config, stage, reuse, upstream.features)
            widened = torch.cat([x_BND, reused_BNC], dim=-1)
        hidden = F.gelu(_linear(block, "fc1", _norm(block, "norm2", widened, config)))
        x_BND = x_BND + _linear(block, "fc2", hidden)
    class_token_BD = _norm(own, "norm", x_BND[:, 0], config)
    is_last = stage == config.num_stages - 1
    handed_on = None if is_last else torch.cat(relations, dim=1)
    return PlainOutput(_linear(own, "head", class_token_BD), x_BND, handed_on)


def _attention(
    config: CascadeConfig, block: Weights, x_BND: Tensor, added_BHNN: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Logits before the softmax, and the tokens after the attention's residual."""
    batch, tokens, width = x_BND.shape
    qkv_BN3D = _linear(block, "attention.qkv", _norm(block, "norm1", x_BND, config))
    query, key, value = (
        part.reshape(batch, tokens, config.num_heads, -1).transpose(1, 2)
        for part in qkv_BN3D.chunk(3, dim=-1)
    )
    logits_BHNN = query @ key.transpose(-2, -1) * config.head_width**-0.5
    if added_BHNN is not None:
        logits_BHNN = logits_BHNN + added_BHNN
    attended_BHNd = logits_BHNN.softmax(dim=-1) @ value
    merged_BND = attended_BHNd.transpose(1, 2).reshape(batch, tokens, width)
    return logits_BHNN, x_BND + _linear(block, "attention.proj", merged_BND)


def _reused_features(
    config: CascadeConfig, stage: int, reuse: Weights, features_BND: Tensor
) -> Tensor:
    """[B, N', D] to [B, N, 48]: a small network, resized, with a zero row for the class token."""
    normed = F.layer_norm(
        features_BND, features_BND.shape[-1:], reuse["norm.weight"], reuse["norm.bias"],
        config.layer_norm_eps,
    )  # fmt: skip
    reused_BGC = _linear(reuse, "fc2", F.gelu(_linear(reuse, "fc1", normed)))[:, 1:]
    resize = resize_matrix(config.grids[stage - 1].size, config.grids[stage].size)
    resized_BGC = resize.to(reused_BGC.device) @ reused_BGC
    return torch.cat([torch.zeros_like(resized_BGC[:, :1]), resized_BGC], dim=1)


def _reused_relations(
    config: CascadeConfig, stage: int, reuse: Weights, relations_BCNN: Tensor
) -> Tensor:
    """[B, L*H, N', N'] to [B, L, H, N, N]: an MLP over channels, then keys and queries resized."""
    hidden = F.gelu(F.conv2d(relations_BCNN, reuse["conv1.weight"], reuse["conv1.bias"]))
    mixed_BCNN = F.conv2d(hidden, reuse["conv2.weight"], reuse["conv2.bias"])
    resize = resize_matrix(config.grids[stage - 1].size, config.grids[stage].size)
    extended_NN = torch.block_diag(torch.ones(1, 1), resize).to(mixed_BCNN.device)
    resized_BCNN = extended_NN @ mixed_BCNN @ extended_NN.T
    added_BLHNN: Tensor = resized_BCNN.unflatten(1, (config.depth, config.num_heads))
    return added_BLHNN


@cache
def resize_matrix(side_up: int, side: int) -> Tensor:
    """R [G, G']: nearest upsampling to twice the side, then adaptive average pooling.

    Along one side, target i averages the doubled positions floor(i*2g'/g) to ceil((i+1)*2g'/g)
    (excluded), and the doubled position j shows source j // 2; both sides are alike.
    """
    one_side = torch.zeros(side, side_up)
    for target in range(side):
        start = target * 2 * side_up // side
        stop = math.ceil((target + 1) * 2 * side_up / side)
        for doubled in range(start, stop):
            one_side[target, doubled // 2] += 1 / (stop - start)
    return torch.kron(one_side, one_side)


def _tokens(config: CascadeConfig, grid: TokenGrid, own: Weights, images: Tensor) -> Tensor:
    """Images [B, 3, S, S] to tokens [B, G, D]."""
    if config.tokenizer == "patch":
        weight, bias = own["projection.weight"], own["projection.bias"]
        return F.conv2d(images, weight, bias, grid.stride, grid.padding).flatten(2).transpose(1, 2)
    if config.tokenizer == "conv":
        x = images
        for number, conv in enumerate(config.stems[config.grids.index(grid)]):
            weight, bias = own[f"stem.{number}.weight"], own[f"stem.{number}.bias"]
            given = F.gelu(F.conv2d(x, weight, bias, conv.stride, (conv.kernel - 1) // 2))
            x = x + given if conv.residual else given
        weight, bias = own["projection.weight"], own["projection.bias"]
        return F.conv2d(x, weight, bias, grid.stride, grid.padding).flatten(2).transpose(1, 2)
    windows = F.unfold(images, grid.kernel, 1, grid.padding, grid.stride).transpose(1, 2)
    for performer in ("performer1", "performer2"):
        tokens_BPT = _performer(config, _below(own, performer), windows)
        side = math.isqrt(tokens_BPT.shape[1])
        map_BTSS = tokens_BPT.transpose(1, 2).unflatten(-1, (side, side))
        windows = F.unfold(map_BTSS, 3, 1, 1, 2).transpose(1, 2)
    return _linear(own, "projection", windows)


def _performer(config: CascadeConfig, own: Weights, windows_BPK: Tensor) -> Tensor:
    """Windows [B, P, K] to tokens [B, P, T], by attention that is linear in P."""
    eps = 1e-5  # of T2T-ViT's tokenizer, whatever the blocks have
    kqv = _linear(own, "kqv", F.layer_norm(windows_BPK, windows_BPK.shape[-1:],
                  own["norm1.weight"], own["norm1.bias"], eps))  # fmt: skip
    key, query, value = kqv.chunk(3, dim=-1)

    def positive_features(x_BPT: Tensor) -> Tensor:
        projected_BPM = x_BPT @ own["random_features"].T
        half_norm = x_BPT.square().sum(dim=-1, keepdim=True) / 2
        return torch.exp(projected_BPM - half_norm) / math.sqrt(config.random_features)

    key_BPM, query_BPM = positive_features(key), positive_features(query)
    normaliser_BP1 = query_BPM @ key_BPM.sum(dim=1).unsqueeze(-1) + 1e-8
    attended = query_BPM @ (key_BPM.transpose(1, 2) @ value) / normaliser_BP1
    x_BPT = value + _linear(own, "proj", attended)
    normed = F.layer_norm(x_BPT, x_BPT.shape[-1:], own["norm2.weight"], own["norm2.bias"], eps)
    hidden = F.gelu(_linear(own, "mlp.0", normed))
    return x_BPT + _linear(own, "mlp.2", hidden)


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def _norm(weights: Weights, name: str, x: Tensor, config: CascadeConfig) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return F.layer_norm(x, x.shape[-1:], weight, bias, config.layer_norm_eps)


def _below(weights: Weights, prefix: str) -> Weights:
    """The weights under a prefix, without it."""
    start = len(prefix) + 1
    return {key[start:]: value for key, value in weights.items() if key.startswith(prefix + ".")}
