"""The model computes what the authors' published code computes, on the same weights."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import dvt
from dvt.loading.state_dict_adapter import config_from_state_dict, to_own_names
from dvt.presets import preset

Shapes = dict[str, tuple[int, ...]]

BACKBONES = ["dvt_t2t_vit_12", "dvt_t2t_vit_14", "dvt_deit_small"]


def without_values(shapes: Shapes) -> dict[str, Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_published_keys_and_shapes_map_one_to_one_onto_the_model(
    backbone: str, golden_shapes: dict[str, Shapes]
) -> None:
    published = without_values(golden_shapes[backbone])
    own = to_own_names(published)
    assert len(own) == len(published), "two published keys share an own name"
    with torch.device("meta"):
        model = dvt.create_model(backbone)
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in own.items()} == expected
    model.load_state_dict(own, strict=True, assign=True)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_configuration_follows_from_the_published_keys(
    backbone: str, golden_shapes: dict[str, Shapes]
) -> None:
    assert config_from_state_dict(without_values(golden_shapes[backbone])) == preset(backbone)


@pytest.mark.parametrize("backbone", ["dvt_t2t_vit_12", "dvt_deit_small"])
def test_logits_of_every_exit_equal_the_published_code_within_1e_4(
    backbone: str,
    golden_weights: Callable[[str], dict[str, Tensor]],
    golden_images: Tensor,
    golden_logits: dict[str, Tensor],
) -> None:
    model = dvt.create_model(backbone)
    model.load_state_dict(to_own_names(golden_weights(backbone)), strict=True)
    with torch.inference_mode():
        logits = torch.stack(model(golden_images))
    golden = golden_logits[backbone]
    assert logits.shape == golden.shape == (3, 2, 1000)
    assert golden.abs().max() > 0.5, "logits of order 1, so that 1e-4 means something"
    assert (logits - golden).abs().max().item() <= 1e-4
