"""Every preset has the published number of parameters and MACs."""

import pytest
import torch

import dvt
from dvt.cascade import cascade_spec
from dvt.presets import PRESETS, preset

# Millions of parameters, GMACs to each exit. Sources:
# dvt_*: DVT, table of appendix A.
# t2t_*: parameters from the README of yitu-opensource/T2T-ViT, MACs from DVT's comparison. That
#   README rounds to 1.1, 1.5, 1.8, 4.8, 8.5, 13.8 G and counts, as DVT does, fixed weights too.
# deit_*, vit_*: timm's results/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv.
PUBLISHED = {
    "dvt_deit_small": (70.44, (1.14, 3.64, 8.80)),
    "dvt_t2t_vit_12": (22.46, (0.47, 1.46, 3.50)),
    "dvt_t2t_vit_14": (67.88, (1.20, 3.82, 9.26)),
    "t2t_vit_7": (4.3, (1.15,)),
    "t2t_vit_10": (5.9, (1.53,)),
    "t2t_vit_12": (6.9, (1.78,)),
    "t2t_vit_14": (21.5, (4.80,)),
    "t2t_vit_19": (39.2, (8.50,)),
    "t2t_vit_24": (64.1, (13.69,)),
    "deit_tiny": (5.72, (1.26,)),
    "deit_small": (22.05, (4.61,)),
    "deit_base": (86.57, (17.58,)),
    "vit_base_16": (86.57, (17.58,)),
    "vit_base_32": (88.22, (4.41,)),
}

# Cascades of which only the parts are published: without reuse they are the sum of these.
# The MindSpore release (README, dvt_inference.py) has 1.145 and 1.145 + 4.608 for the first; the
# parameters, and ViT-B's figures, are those of timm's vit_{small,base}_patch{32,16}_224.
SUMS = {
    "dvt_deit_small_2": (22.88 + 22.05, (1.145, 1.145 + 4.608)),
    "dvt_vit_base": (88.22 + 86.57, (4.41, 4.41 + 17.58)),
}

# Our own, published nowhere else.
OWN = {"dvt_tiny_48", "dvt_conv_32"}


def millions(config: dvt.CascadeConfig) -> float:
    """Trained and fixed ones (positions, random features), as the published counts have them."""
    with torch.device("meta"):
        model = dvt.Cascade(config)
    counts: list[int] = [weight.numel() for weight in model.state_dict().values()]
    return sum(counts) / 1e6


def test_every_preset_has_published_figures_to_compare_with() -> None:
    assert PUBLISHED.keys() | SUMS.keys() | OWN == PRESETS.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_name_in_its_configuration(name: str) -> None:
    assert preset(name).name == name


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_are_as_published_within_2_percent(name: str) -> None:
    parameters, gmacs = PUBLISHED[name]
    assert millions(preset(name)) == pytest.approx(parameters, rel=0.02)
    assert cascade_spec(preset(name)).gmacs_per_exit == pytest.approx(gmacs, rel=0.02)


@pytest.mark.parametrize("name", SUMS)
def test_two_stages_without_reuse_cost_as_much_as_two_published_models(name: str) -> None:
    parameters, gmacs = SUMS[name]
    plain = preset(name).with_changes(feature_reuse=False, relation_reuse=False)
    assert millions(plain) == pytest.approx(parameters, rel=0.02)
    assert cascade_spec(plain).gmacs_per_exit == pytest.approx(gmacs, rel=0.02)


@pytest.mark.parametrize("name", SUMS)
def test_reuse_adds_to_the_second_stage_only(name: str) -> None:
    """At most a tenth: 0.28 of 5.74 G, and 0.72 of 21.97 G."""
    reusing, plain = (
        cascade_spec(preset(name).with_changes(feature_reuse=on, relation_reuse=on)).gmacs_per_exit
        for on in (True, False)
    )
    assert reusing[0] == plain[0]
    assert plain[1] < reusing[1] < 1.1 * plain[1]


def test_a_static_model_is_a_cascade_of_one_stage_that_reuses_nothing() -> None:
    statics = [make() for name, make in PRESETS.items() if not name.startswith("dvt_")]
    assert len(statics) == 11
    for config in statics:
        assert config.num_stages == 1
        assert not config.feature_reuse
        assert not config.relation_reuse
