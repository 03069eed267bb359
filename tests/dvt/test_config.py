"""Configurations allow any number of stages, and name the invalid field otherwise."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

import dvt
from dvt.config import CascadeConfig, Preprocess, TokenGrid
from dvt.token_grids import patch_grid, t2t_grid
from dvt.validation import first_problem


@pytest.mark.parametrize(
    ("size", "window"), [(7, (32, 32, 0)), (10, (23, 23, 3)), (14, (16, 16, 0))]
)
def test_patch_grids_at_224_are_those_of_the_paper(size: int, window: tuple[int, int, int]) -> None:
    grid = patch_grid(224, size)
    assert (grid.kernel, grid.stride, grid.padding) == window


@pytest.mark.parametrize(("size", "window"), [(7, (14, 8, 3)), (10, (11, 6, 5)), (14, (7, 4, 2))])
def test_t2t_grids_at_224_are_the_published_splits(size: int, window: tuple[int, int, int]) -> None:
    grid = t2t_grid(224, size)
    assert (grid.kernel, grid.stride, grid.padding) == window


@given(data=st.data(), image_size=st.integers(8, 300))
def test_every_patch_grid_up_to_the_image_size_describes_a_cascade(
    data: st.DataObject, image_size: int
) -> None:
    size = data.draw(st.integers(1, image_size))
    grid = patch_grid(image_size, size)
    assert grid.size == size
    assert one_stage("patch", image_size, grid).split_sides(0) == [size]


@given(image_size=st.integers(8, 300), size=st.integers(1, 40))
def test_a_t2t_grid_is_refused_only_if_no_soft_split_gives_it(image_size: int, size: int) -> None:
    if size in t2t_sizes(image_size):
        grid = t2t_grid(image_size, size)
        assert one_stage("t2t", image_size, grid).split_sides(0)[-1] == size
    else:
        with pytest.raises(dvt.ConfigError, match=f"into {size}x{size} tokens"):
            t2t_grid(image_size, size)


def t2t_sizes(image_size: int) -> set[int]:
    """Sides of the token grids after a first split of any stride and padding, and two halvings."""
    sizes = set()
    for stride in range(1, image_size + 1):
        kernel = max(3, 2 * stride - 1)
        for padding in range(kernel // 2 + 1):
            if image_size + 2 * padding >= kernel:
                side = (image_size + 2 * padding - kernel) // stride + 1
                sizes.add(((side + 1) // 2 + 1) // 2)
    return sizes


def one_stage(tokenizer: str, image_size: int, grid: TokenGrid) -> CascadeConfig:
    fields: dict[str, Any] = {"name": "one", "width": 4, "depth": 1, "num_heads": 1}
    return CascadeConfig(
        tokenizer="patch" if tokenizer == "patch" else "t2t",
        image_size=image_size,
        grids=(grid,),
        preprocess=Preprocess(resize=image_size),
        **fields,
    )


def test_a_grid_that_no_soft_split_reaches_is_refused() -> None:
    """Three splits halve the side at least twice: 24 px give 12 tokens at most, then 6."""
    with pytest.raises(dvt.ConfigError, match=r"no soft split turns 24 px into 20x20 tokens$"):
        t2t_grid(24, 20)


@pytest.mark.parametrize("size", [0, -1, 25])
def test_a_patch_grid_finer_than_the_pixels_is_refused(size: int) -> None:
    with pytest.raises(dvt.ConfigError, match=rf"between 1 and image_size=24 \(got {size}\)"):
        patch_grid(24, size)


@pytest.mark.parametrize(
    ("tokenizer", "image_size", "sides"),
    [
        ("patch", 24, (3,)),
        ("patch", 37, (3, 5)),
        ("patch", 24, (4, 2)),
        ("patch", 24, (1, 2, 3)),
        ("patch", 61, (2, 3, 5, 7)),
        ("t2t", 48, (3,)),
        ("t2t", 61, (2, 5)),
        ("t2t", 48, (1, 2, 3)),
        ("t2t", 64, (2, 3, 4, 6)),
        ("conv", 26, (3,)),
        ("conv", 40, (2, 3, 4, 6)),
    ],
)
def test_any_number_of_stages_on_odd_grids_builds_and_runs(
    tokenizer: str,
    image_size: int,
    sides: tuple[int, ...],
    tiny_cascade: Callable[..., dvt.Cascade],
    random_images: Callable[..., Tensor],
) -> None:
    model = tiny_cascade(tokenizer=tokenizer, image_size=image_size, sides=sides)
    assert model.config.num_stages == len(sides)
    with torch.inference_mode():
        logits = model(random_images(2, image_size))
    assert [tuple(exit_logits.shape) for exit_logits in logits] == [(2, 5)] * len(sides)
    assert all(bool(exit_logits.isfinite().all()) for exit_logits in logits)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"width": 15}, "width: must be a multiple of num_heads=2 (got 15)"),
        (
            {"width": 15, "num_heads": 3, "position_embedding": "sinusoid"},
            "width: must be even for sinusoid position embeddings (got 15)",
        ),
        (
            {"preprocess": Preprocess(resize=20)},
            "preprocess.resize: must be at least image_size=24 (got 20)",
        ),
        (
            {"grids": (patch_grid(24, 3), TokenGrid(size=4, kernel=8, stride=8, padding=0))},
            "grids.1: kernel 8, stride 8, padding 0 give 3x3 tokens from 24 px, not size=4",
        ),
        (
            {"grids": (TokenGrid(size=1, kernel=25, stride=1, padding=0),)},
            "grids.0: kernel 25, stride 1, padding 0 give 0x0 tokens from 24 px, not size=1",
        ),
        ({"grids": ()}, "grids: Tuple should have at least 1 item"),
        ({"widht": 16}, "widht: unknown (got 16)"),
        ({"num_classes": 1}, "num_classes: must be at least 2 (got 1)"),
        ({"mlp_ratio": 0.0}, "mlp_ratio: must be above 0 (got 0.0)"),
    ],
)
def test_an_invalid_field_is_named(
    changes: dict[str, Any], problem: str, tiny_config: Callable[..., CascadeConfig]
) -> None:
    with pytest.raises(ValidationError) as caught:
        tiny_config(**changes)
    assert first_problem(caught.value).startswith(problem)
    assert "\n" not in first_problem(caught.value)


@pytest.mark.parametrize("mlp_ratio", [float("inf"), 0.01])
def test_an_mlp_without_a_finite_number_of_channels_is_refused(
    mlp_ratio: float, tiny_config: Callable[..., CascadeConfig]
) -> None:
    """0.01 of 16 channels are none."""
    with pytest.raises(ValidationError, match="mlp_ratio"):
        tiny_config(mlp_ratio=mlp_ratio)


def test_configurations_are_frozen(tiny_config: Callable[..., CascadeConfig]) -> None:
    config = tiny_config()
    for part, field in ((config, "width"), (config.grids[0], "size"), (config.preprocess, "mean")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, field, 1)


def test_a_configuration_survives_its_file(tiny_config: Callable[..., CascadeConfig]) -> None:
    config = tiny_config(tokenizer="t2t", mlp_ratio=1.7, qkv_bias=False)
    assert CascadeConfig.model_validate_json(config.model_dump_json()) == config
