"""The cost derived from a configuration equals the paper's and a profiler's."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import dvt
from dvt.cascade import cascade_spec
from dvt.config import CascadeConfig
from dvt.cost import stage_cost
from dvt.presets import preset


@pytest.mark.parametrize(
    ("changes", "gmacs"),
    [
        ({"feature_reuse": False, "relation_reuse": False}, (0.47, 1.37, 3.15)),
        ({"feature_reuse": True, "relation_reuse": False}, (0.47, 1.43, 3.31)),
        ({"feature_reuse": False, "relation_reuse": True}, (0.47, 1.41, 3.34)),
    ],
)
def test_costs_of_the_ablations_equal_the_papers_within_2_percent(
    changes: dict[str, bool], gmacs: tuple[float, ...]
) -> None:
    """Table of ablations on T2T-ViT-12."""
    config = preset("dvt_t2t_vit_12").model_copy(update=changes)
    assert cascade_spec(config).gmacs_per_exit == pytest.approx(gmacs, rel=0.02)


@pytest.mark.parametrize("feature_reuse", [True, False])
@pytest.mark.parametrize("relation_reuse", [True, False])
@pytest.mark.parametrize("tokenizer", ["patch", "t2t", "conv"])
def test_the_count_equals_what_a_profiler_measures(
    tokenizer: str,
    feature_reuse: bool,
    relation_reuse: bool,
    tiny_cascade: Callable[..., dvt.Cascade],
    random_images: Callable[..., Tensor],
) -> None:
    """To the last MAC, in every stage, as executed; the profiler counts two FLOPs a MAC.

    The profiler does not count the fused attention kernel for CPUs, which would hide
    2 * N^2 * D * L MACs of a stage that emits no logits. The `MATH` backend runs the same attention
    as two batched products.
    """
    model = tiny_cascade(
        tokenizer=tokenizer, feature_reuse=feature_reuse, relation_reuse=relation_reuse
    )
    images = random_images(1, model.config.image_size)
    state = None
    for index, stage in enumerate(model.stages):
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            state = stage(images, state).state
        cost = stage_cost(model.config, index)
        assert counter.get_total_flops() == 2 * cost.executed
        assert (cost.feature_reuse > 0) == (feature_reuse and index > 0)
        assert (cost.relation_reuse > 0) == (relation_reuse and index > 0)
        emits = (feature_reuse or relation_reuse) and index < 2
        assert (cost.unread == 0) == emits, (
            "a stage without a successor computes less than in the paper"
        )
        assert (cost.resizing > 0) == ((feature_reuse or relation_reuse) and index > 0)


def test_cost_grows_with_every_exit_and_counts_each_stage_once(
    tiny_config: Callable[..., CascadeConfig],
) -> None:
    config = tiny_config(sides=(2, 3, 4, 6))
    totals = [stage_cost(config, stage).total for stage in range(4)]
    assert cascade_spec(config).gmacs_per_exit == pytest.approx(
        [sum(totals[: stage + 1]) / 1e9 for stage in range(4)]
    )


def test_one_block_by_hand(tiny_config: Callable[..., CascadeConfig]) -> None:
    """5 tokens of 16 channels, MLP ratio 2, patches of 12 px in 24.

    Projections 5*4*16*16 = 5,120; attention 2*5*5*16 = 800; MLP 5*2*16*32 = 5,120;
    tokenizer 4*3*12*12*16 = 27,648; head 16*5 = 80.
    """
    cost = stage_cost(tiny_config(sides=(2,), depth=1), 0)
    assert (cost.blocks, cost.tokenizer, cost.head) == (5120 + 800 + 5120, 27648, 80)
    assert cost.total == 11040 + 27648 + 80
