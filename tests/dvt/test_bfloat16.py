"""A model cast to bfloat16 computes its confidences in float32."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import dvt
from dvt.tokenizers import T2TTokenizer

FULL_DEPTH = (2.0, 2.0)


@pytest.mark.parametrize("tokenizer", ["patch", "t2t", "conv"])
@pytest.mark.parametrize("reuse", [True, False])
def test_confidences_are_float32_and_near_those_of_float32(
    tokenizer: str,
    reuse: bool,
    tiny_cascade: Callable[..., dvt.Cascade],
    random_images: Callable[..., Tensor],
) -> None:
    """8 bits of mantissa change logits of order 1 by some hundredths."""
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
    """The state has half the bytes."""
    model = tiny_cascade(tokenizer="t2t")
    images = random_images(2, model.config.image_size)
    halved = copy.deepcopy(model).to(torch.bfloat16)
    with torch.inference_mode():
        exact, rounded = model.stages[0](images), halved.stages[0](images.bfloat16())
    assert rounded.logits.dtype == torch.bfloat16
    for half, full in (
        (rounded.state.features, exact.state.features),
        (rounded.state.relations, exact.state.relations),
    ):
        assert half.nbytes * 2 == full.nbytes


@pytest.mark.parametrize("autocast", [True, False])
def test_the_performers_exponential_is_computed_in_float32(
    autocast: bool, tiny_cascade: Callable[..., dvt.Cascade]
) -> None:
    """exp(-|x|^2 / 2) of 8 channels of 3.9 is 4e-27: float32 holds it, float16 would not.

    Two positions with that key and values 1 and 3: attention gives 2 only if the exponentials are
    not lost beside the normaliser's 1e-8; lost, it gives 0.
    """
    tokenizer = tiny_cascade(tokenizer="t2t").to(torch.bfloat16).stages[0].tokenizer
    assert isinstance(tokenizer, T2TTokenizer)
    performer = tokenizer.performer1
    torch.nn.init.eye_(performer.proj.weight.data)
    torch.nn.init.zeros_(performer.proj.bias.data)
    # Random features as long as the keys bring the exponent back to about 0.
    performer.random_features.fill_(3.9 / 2)
    kqv = torch.full((1, 2, 24), 3.9, dtype=torch.bfloat16)
    kqv[0, :, 16:] = torch.tensor([1.0, 3.0]).unsqueeze(1)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        attended = performer.attend(kqv) - kqv[..., 16:]
    assert attended.float().flatten().tolist() == pytest.approx([2.0] * 16, rel=0.02)
