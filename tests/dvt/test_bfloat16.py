"""A model cast to bfloat16 runs, and decides about exits in float32."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import dvt
from dvt.tokenizers import T2TTokenizer

FULL_DEPTH = (2.0, 2.0)


@pytest.mark.parametrize("tokenizer", ["patch", "t2t"])
@pytest.mark.parametrize("reuse", [True, False])
def test_confidences_are_float32_and_near_those_of_float32(
    tokenizer: str,
    reuse: bool,
    tiny_cascade: Callable[..., dvt.Cascade],
    random_images: Callable[..., Tensor],
) -> None:
    """8 bits of mantissa: logits of order 1 move by some hundredths."""
    model = tiny_cascade(tokenizer=tokenizer, feature_reuse=reuse, relation_reuse=reuse)
    images = random_images(8, model.config.image_size)
    halved = copy.deepcopy(model).to(torch.bfloat16)
    for thresholds in ((0.0, 0.0), (2.0, 0.0), FULL_DEPTH):
        exact = model.predict(images, thresholds, batch_size=4)
        rounded = halved.predict(images.bfloat16(), thresholds, batch_size=4)
        assert rounded.confidences.dtype == torch.float32
        assert torch.equal(rounded.exit_stages, exact.exit_stages)
        assert (rounded.confidences - exact.confidences).abs().max() < 0.05
        assert not torch.equal(rounded.confidences, exact.confidences), "it did run in 16 bits"


def test_logits_and_state_stay_in_16_bits(
    tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> None:
    """Half the bytes travel from stage to stage."""
    model = tiny_cascade(tokenizer="t2t")
    images = random_images(2, model.config.image_size)
    halved = copy.deepcopy(model).to(torch.bfloat16)
    with torch.inference_mode():
        exact, rounded = model.stages[0](images), halved.stages[0](images.bfloat16())
    assert rounded.logits.dtype == torch.bfloat16
    assert rounded.state.num_bytes * 2 == exact.state.num_bytes


def test_the_performers_exponential_is_computed_in_float32(
    tiny_cascade: Callable[..., dvt.Cascade],
) -> None:
    """exp(-|x|^2 / 2) of 8 channels of 3.9 is 4e-27: float32 holds it, float16 would not."""
    tokenizer = tiny_cascade(tokenizer="t2t").to(torch.bfloat16).stages[0].tokenizer
    assert isinstance(tokenizer, T2TTokenizer)
    performer = tokenizer.performer1
    performer.random_features.zero_()
    long = torch.full((1, 1, 8), 3.9, dtype=torch.bfloat16)
    with torch.inference_mode():
        features = performer._positive_features(long)
    assert features.dtype == torch.float32
    expected = math.exp(-8 * long[0, 0, 0].item() ** 2 / 2) / math.sqrt(4)
    assert features[0, 0].tolist() == pytest.approx([expected] * 4, rel=1e-5)
