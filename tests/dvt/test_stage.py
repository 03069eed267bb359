"""A stage run alone equals the stage in the cascade, and emits the next one's state."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import dvt
from dvt.reuse import StageState
from dvt.stage import sinusoid_positions

SETTINGS = [(True, True), (True, False), (False, True), (False, False)]


def stages_of(model: dvt.Cascade) -> list[Any]:
    """The stages, typed; `nn.Module` types them as tensors or modules."""
    return list(model.stages)


@pytest.mark.parametrize(("feature_reuse", "relation_reuse"), SETTINGS)
@pytest.mark.parametrize("tokenizer", ["patch", "t2t", "conv"])
def test_a_stage_alone_with_upstream_state_gives_the_logits_of_the_cascade(
    tokenizer: str,
    feature_reuse: bool,
    relation_reuse: bool,
    tiny_cascade: Callable[..., dvt.Cascade],
    random_images: Callable[..., Tensor],
) -> None:
    model = tiny_cascade(
        tokenizer=tokenizer, feature_reuse=feature_reuse, relation_reuse=relation_reuse
    )
    images = random_images(3, model.config.image_size)
    with torch.inference_mode():
        whole = model(images)
        state: StageState | None = None
        for index, stage in enumerate(stages_of(model)):
            output: dvt.StageOutput = stage(images, state)
            assert torch.equal(output.logits, whole[index])
            assert torch.equal(stage.head(output.embedding), output.logits)
            state = output.state
            if index == 2 or not (feature_reuse or relation_reuse):
                assert state is None, "no stage needs it"
            else:
                assert state is not None
                assert (state.features is not None) == feature_reuse
                assert (state.relations is not None) == relation_reuse


def test_reuse_reaches_the_logits(
    tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> None:
    model = tiny_cascade()
    images = random_images(2)
    with torch.inference_mode():
        state, other = (model.stages[0](random_images(2, seed=seed)).state for seed in (1, 2))
        intact = model.stages[1](images, state).logits
        for changed in (
            StageState(other.features, state.relations),
            StageState(state.features, other.relations),
        ):
            assert (model.stages[1](images, changed).logits - intact).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("upstream", "problem"),
    [
        (None, "stage 2: needs the state of stage 1"),
        (StageState(torch.zeros(1, 5, 16), None), "stage 2: upstream state has no relations"),
        (StageState(None, torch.zeros(4, 1, 5, 5)), "stage 2: upstream state has no features"),
    ],
)
def test_missing_state_is_refused_with_the_stage_named(
    upstream: StageState | None,
    problem: str,
    tiny_cascade: Callable[..., dvt.Cascade],
    random_images: Callable[..., Tensor],
) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        tiny_cascade().stages[1](random_images(1), upstream)


def test_emitted_relations_include_the_received_ones(
    tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> None:
    """One layer, so that its logits can be computed from the tokens by hand."""
    model = tiny_cascade(depth=1)
    images = random_images(2)
    first, second = stages_of(model)[:2]
    with torch.inference_mode():
        upstream = first(images).state
        assert upstream is not None
        emitted = second(images, upstream).state.relations
        block, tokens = second.blocks[0], second.tokenizer(images)
        x = torch.cat([second.class_token.expand(2, 1, 16), tokens], dim=1) + second.positions
        query, key, _ = block.attention.qkv(block.norm1(x)).split(16, dim=-1)
        received = second.relation_reuse(upstream.relations)
        for head in range(2):
            channels = slice(8 * head, 8 * head + 8)
            own = query[..., channels] @ key[..., channels].transpose(1, 2) * 8**-0.5
            assert received[head].abs().max() > 0.01
            torch.testing.assert_close(emitted[head], own + received[head], rtol=1e-4, atol=1e-4)


def test_features_are_the_image_tokens_before_the_final_layer_norm(
    tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> None:
    """A hook catches the block's output; its first row is the class token."""
    stage = stages_of(tiny_cascade(relation_reuse=False))[0]
    caught: list[Tensor] = []
    stage.blocks[-1].register_forward_hook(lambda _block, _inputs, output: caught.append(output))
    with torch.inference_mode():
        output = stage(random_images(2))
        (tokens,) = caught
        assert torch.equal(output.state.features, tokens[:, 1:])
        torch.testing.assert_close(stage.norm(tokens[:, 0]), output.embedding)


def test_fused_and_emitting_attention_agree(
    tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> None:
    """The first stage of a cascade emits its logits; a single stage uses the fused kernel."""
    several, alone = tiny_cascade(sides=(3, 4)), tiny_cascade(sides=(3,))
    alone.load_state_dict(
        {key: value for key, value in several.state_dict().items() if key.startswith("stages.0.")}
    )
    images = random_images(3)
    with torch.inference_mode():
        torch.testing.assert_close(several(images)[0], alone(images)[0], rtol=1e-4, atol=1e-5)


def test_sinusoid_positions_follow_the_formula() -> None:
    """Channel 2i holds sin(n / 10000^(2i/D)), channel 2i + 1 the cosine; n = 3, D = 4."""
    positions = sinusoid_positions(5, 4)
    assert positions.shape == (1, 5, 4)
    expected = torch.tensor([3.0, 3.0, 0.03, 0.03])
    expected = torch.where(torch.tensor([True, False] * 2), expected.sin(), expected.cos())
    torch.testing.assert_close(positions[0, 3], expected)
