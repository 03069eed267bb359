"""Reuse equals the published resizing and plain loops over tokens."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dvt
from dvt.config import CascadeConfig
from dvt.reuse import (
    FeatureReuse,
    RelationReuse,
    StageState,
    pad_images,
    resize_matrix,
    reused_features,
)

SIDES = [(7, 10), (10, 14), (7, 14), (3, 4)]


def published_resize(maps: Tensor, side: int) -> Tensor:
    """Doubles maps [..., g, g] by nearest neighbour, then pools, as in the published code."""
    doubled = F.interpolate(maps, scale_factor=2, mode="nearest")
    return F.adaptive_avg_pool2d(doubled, side)


def randomise(module: nn.Module, seed: int = 3) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5


@pytest.mark.parametrize(("upstream", "side"), SIDES)
def test_the_resize_matrix_is_the_published_resizing(upstream: int, side: int) -> None:
    maps = torch.randn(2, 3, upstream, upstream, generator=torch.Generator().manual_seed(0))
    by_matrix = (maps.flatten(2) @ resize_matrix(upstream, side).T).unflatten(2, (side, side))
    torch.testing.assert_close(by_matrix, published_resize(maps, side), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("upstream", "side"), [*SIDES, (4, 4), (5, 2), (1, 3)])
def test_rows_of_the_resize_matrix_are_averages(upstream: int, side: int) -> None:
    matrix = resize_matrix(upstream, side)
    assert matrix.shape == (side**2, upstream**2)
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(side**2))


def test_resizing_from_7_to_14_copies_every_token_to_four() -> None:
    matrix = resize_matrix(7, 14)
    assert set(matrix.unique().tolist()) == {0.0, 1.0}
    assert matrix.sum(dim=0).unique().tolist() == [4.0]


def test_feature_reuse_maps_each_token_and_leaves_the_class_token_zero(
    tiny_config: Callable[..., CascadeConfig],
) -> None:
    """Two networks at once equal each of them on each token."""
    networks = [FeatureReuse(tiny_config()) for _ in range(2)]
    for seed, network in enumerate(networks):
        randomise(network, seed)
    features = torch.randn(3, 4, 16, generator=torch.Generator().manual_seed(0))
    reused = reused_features(networks, features, F.pad(resize_matrix(2, 3), (0, 0, 1, 0)))
    assert reused.shape == (2, 3, 10, 6), "[L, B, N', 48]"
    assert reused[:, :, 0].abs().max() == 0
    for layer, network in enumerate(networks):
        for image in range(3):
            tokens = torch.stack(
                [network.fc2(F.gelu(network.fc1(network.norm(token)))) for token in features[image]]
            )
            maps = tokens.T.reshape(1, 6, 2, 2)
            expected = published_resize(maps, 3).reshape(6, 9).T
            torch.testing.assert_close(reused[layer, image, 1:], expected, rtol=1e-4, atol=1e-5)


def test_relation_reuse_resizes_keys_and_queries_separately(
    tiny_config: Callable[..., CascadeConfig],
) -> None:
    """Loops over rows and columns; those of the class token are not averaged."""
    config = tiny_config(depth=2, num_heads=2)
    reuse = RelationReuse(config, stage=1)
    randomise(reuse)
    relations = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    added = reuse(relations)
    assert added.shape == (4, 2, 10, 10), "[L*H, B, N', N']"
    w1, w2 = reuse.conv1.weight.flatten(1), reuse.conv2.weight.flatten(1)
    b1, b2 = reuse.conv1.bias, reuse.conv2.bias
    assert b1 is not None
    assert b2 is not None
    for image in range(2):
        mixed = torch.empty(4, 5, 5)
        for query in range(5):
            for key in range(5):
                hidden = F.gelu(w1 @ relations[:, image, query, key] + b1)
                mixed[:, query, key] = w2 @ hidden + b2
        for channel in range(4):
            wide = torch.stack([resize_row(mixed[channel, query]) for query in range(5)])
            full = torch.stack([resize_row(wide[:, key]) for key in range(10)], dim=1)
            torch.testing.assert_close(added[channel, image], full, rtol=1e-4, atol=1e-4)


def resize_row(row: Tensor) -> Tensor:
    """One row [1 + 2*2] of an attention map to [1 + 3*3], class token unchanged."""
    resized = published_resize(row[1:].reshape(1, 1, 2, 2), 3)
    return torch.cat([row[:1], resized.flatten()])


def test_checkpoints_do_not_contain_resize_matrices(
    tiny_cascade: Callable[..., dvt.Cascade],
) -> None:
    assert not [key for key in tiny_cascade().state_dict() if "resize" in key]


def test_states_are_sliced_padded_and_joined_by_row() -> None:
    features, relations = torch.arange(12.0).reshape(3, 2, 2), torch.arange(3.0).reshape(1, 3, 1, 1)
    state = StageState(features, relations)
    picked = state[torch.tensor([2, 0])]
    assert picked.features is not None
    assert picked.relations is not None
    assert torch.equal(picked.features, features[[2, 0]])
    assert picked.relations.flatten().tolist() == [2, 0]
    padded = picked.padded(4).relations
    assert padded is not None
    assert padded.flatten().tolist() == [2, 0, 2, 2]
    joined = StageState.join([state[:1], picked]).relations
    assert joined is not None
    assert joined.flatten().tolist() == [0, 2, 0]
    assert StageState.join([StageState(features, None)] * 2).relations is None
    assert pad_images(features, 2) is features, "never cut"


@pytest.mark.parametrize(
    ("backbone", "kilobytes"),
    [
        ("dvt_t2t_vit_12", [(26, 240), (52, 979)]),
        ("dvt_deit_small", [(38, 360), (78, 1469)]),
        ("dvt_t2t_vit_14", [(38, 420), (78, 1714)]),
    ],
)
def test_states_at_224_px_have_the_papers_sizes(
    backbone: str, kilobytes: list[tuple[int, int]]
) -> None:
    """KB are 1,000 bytes, at 2 bytes a value: 50 tokens of 256 channels are 25.6 KB.

    The paper counts the class token's features too; no stage reads them, so the state has none.
    """
    with torch.device("meta"):
        model = dvt.create_model(backbone)
        images = torch.empty(1, 3, 224, 224)
    state: StageState | None = None
    for stage, (features, relations) in zip(model.stages, kilobytes, strict=False):
        state = stage(images, state).state
        assert state is not None
        assert state.features is not None
        assert state.relations is not None
        tokens = state.features.shape[1]
        with_class_token = state.features.numel() * (tokens + 1) / tokens
        assert math.isclose(with_class_token * 2 / 1000, features, abs_tol=0.6)
        assert math.isclose(state.relations.numel() * 2 / 1000, relations, abs_tol=0.6)
