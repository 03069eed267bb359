"""The cascade equals the plain implementation, which equals the published code."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import dvt
from dvt.loading.state_dict_adapter import to_own_names
from dvt.presets import preset
from dvt.reuse import StageState
from dvt.tokenizers import T2TTokenizer
from tests.dvt.plain_cascade import plain_cascade


@pytest.mark.parametrize("backbone", ["dvt_t2t_vit_12", "dvt_deit_small"])
def test_the_oracle_equals_the_published_code_within_1e_4(
    backbone: str,
    golden_weights: Callable[[str], dict[str, Tensor]],
    golden_images: Tensor,
    golden_logits: dict[str, Tensor],
) -> None:
    config = preset(backbone)
    with torch.inference_mode():
        outputs = plain_cascade(config, to_own_names(golden_weights(backbone)), golden_images)
    logits = torch.stack([output.logits for output in outputs])
    assert (logits - golden_logits[backbone]).abs().max().item() <= 1e-4


@pytest.mark.parametrize("feature_reuse", [True, False])
@pytest.mark.parametrize("relation_reuse", [True, False])
@pytest.mark.parametrize("tokenizer", ["patch", "t2t", "conv"])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_logits_and_state_equal_the_oracles_within_1e_4_relative(
    qkv_bias: bool,
    tokenizer: str,
    relation_reuse: bool,
    feature_reuse: bool,
    tiny_cascade: Callable[..., dvt.Cascade],
    random_images: Callable[..., Tensor],
) -> None:
    model = tiny_cascade(
        tokenizer=tokenizer,
        feature_reuse=feature_reuse,
        relation_reuse=relation_reuse,
        qkv_bias=qkv_bias,
    )
    images = random_images(3, model.config.image_size)
    with torch.inference_mode():
        plain = plain_cascade(model.config, model.state_dict(), images)
        state: StageState | None = None
        for stage, expected in zip(model.stages, plain, strict=True):
            output = stage(images, state)
            assert_close(output.logits, expected.logits)
            state = output.state
            if state is not None and state.features is not None:
                assert_close(state.features, expected.features[:, 1:])
            if state is not None and state.relations is not None:
                assert expected.relations is not None
                assert_close(state.relations, expected.relations.transpose(0, 1))


@pytest.mark.parametrize("value", [0.0, 2.64, -2.1])
def test_images_of_one_colour_equal_the_oracle(
    value: float, tiny_cascade: Callable[..., dvt.Cascade]
) -> None:
    """Normalised white is 2.6 with deviation 0: a LayerNorm over windows divides by 0.003."""
    model = tiny_cascade(tokenizer="t2t")
    images = torch.full((2, 3, 48, 48), value)
    images[1, :, 20:30, 20:30] = 0.5
    with torch.inference_mode():
        expected = plain_cascade(model.config, model.state_dict(), images)
        for logits, output in zip(model(images), expected, strict=True):
            assert_close(logits, output.logits)


def test_nearly_equal_tokens_give_finite_numbers(
    tiny_cascade: Callable[..., dvt.Cascade],
) -> None:
    """Box filters subtract two nearly equal numbers around 900."""
    tokenizer = tiny_cascade(tokenizer="t2t").stages[0].tokenizer
    assert isinstance(tokenizer, T2TTokenizer)
    noise = torch.randn(2, 6, 6, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for deviation in (0.0, 1e-4, 1e-2):
            assert tokenizer.performer2(30 + deviation * noise, (3, 2, 1)).isfinite().all()


def assert_close(value: Tensor, expected: Tensor) -> None:
    """Compares relative to the largest value."""
    assert value.shape == expected.shape
    assert ((value - expected).abs().max() / expected.abs().max()).item() <= 1e-4
