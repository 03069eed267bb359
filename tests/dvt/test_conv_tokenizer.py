"""Stems of convolutions: validation, cost, and configurations without them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

import dvt
from dvt.cascade import cascade_spec
from dvt.config import CascadeConfig, StemConv
from dvt.cost import stage_cost
from dvt.presets import PRESETS, preset, static_relative
from dvt.validation import first_problem


def test_the_cost_of_a_stem_is_counted_by_hand(
    tiny_config: Callable[..., CascadeConfig],
) -> None:
    """24 px: 12*12 * 3*4*4*8, then 12*12 * 8*9*8, then 4*4 windows of 3*3*8 to 16 channels."""
    config = tiny_config("conv", sides=(4,))
    assert stage_cost(config, 0).tokenizer == 144 * 384 + 144 * 576 + 16 * 72 * 16


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"stems": ()},
            "stems: must be 3 for 3 stages with the conv tokenizer (got 0)",
        ),
        (
            {"tokenizer": "patch"},
            "stems: must be 0 for 3 stages with the patch tokenizer (got 3)",
        ),
        (
            {"stems": ((StemConv(channels=4, residual=True),),) * 3},
            "stems.0.0: residual needs stride 1, an odd kernel and channels=3 as in its input "
            "(got 1, 3, 4)",
        ),
        (
            {"stems": ((StemConv(channels=4, stride=5),),) * 3},
            "grids.0: kernel 6, stride 6, padding 0 give 0x0 tokens from 24 px after the stem",
        ),
        ({"stems": (({"channels": 0},),) * 3}, "stems.0.0.channels: must be "),
    ],
)
def test_an_invalid_stem_is_refused(
    changes: dict[str, Any], problem: str, tiny_config: Callable[..., CascadeConfig]
) -> None:
    with pytest.raises(ValidationError) as caught:
        tiny_config("conv", sides=(2, 3, 4)).model_validate(
            tiny_config("conv", sides=(2, 3, 4)).model_dump() | changes
        )
    assert first_problem(caught.value).startswith(problem)


@pytest.mark.parametrize("name", PRESETS)
def test_only_configurations_with_stems_write_stems(name: str) -> None:
    """The digests of shipped models cover the configuration as text."""
    config = preset(name)
    fields = json.loads(config.model_dump_json())
    assert ("stems" in fields) == (config.tokenizer == "conv")
    assert CascadeConfig.model_validate(fields) == config


def test_the_digest_of_the_shipped_model_is_unchanged() -> None:
    assert dvt.load_model("shapes").digest() == "45385a56ff00b48a"


def test_each_stage_of_the_conv_preset_costs_much_more_than_the_previous_one() -> None:
    first, second, third = cascade_spec(preset("dvt_conv_32")).gmacs_per_exit
    assert second > 3 * first
    assert third > 2 * second


@pytest.mark.parametrize("name", ["dvt_conv_32", "dvt_t2t_vit_12"])
def test_a_static_relative_costs_one_stage_without_reuse(name: str) -> None:
    cascade = preset(name)
    for stage in (1, 2, 3):
        static = static_relative(cascade, stage)
        assert static.num_stages == 1
        own, alone = stage_cost(cascade, stage - 1), stage_cost(static, 0)
        assert alone.tokenizer == own.tokenizer
        assert alone.total < own.total if stage > 1 else alone.total == own.total
    with pytest.raises(dvt.ConfigError, match=r"static: must be a stage from 1 to 3 .* \(got 4\)"):
        static_relative(cascade, 4)
