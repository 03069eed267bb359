"""Schedules and certificates of the shipped models."""

import numpy as np
import pytest

import dvt
from dvt.calibration import (
    ThresholdSet,
    binomial_p_value,
    certify_sequence,
    mean_gmacs,
    share_lost_at_worst,
)
from dvt.errors import ModelError
from dvt.loading import shipped_models
from jobs.calibration.calibration_set import calibrated_model, load_calibration_set
from jobs.calibration.fit import DEFAULT_DELTA
from jobs.calibration.thresholds import ThresholdOptions, choose_thresholds

MODEL = dvt.load_model("shapes")
IDENTITY = calibrated_model(MODEL)
RECORDED = load_calibration_set("shapes", IDENTITY)


def chosen(**limit: float) -> tuple[tuple[ThresholdSet, ...], tuple[str, ...]]:
    """Threshold sets and promises of a run with a deadline and this limit."""
    options = ThresholdOptions.model_validate({"deadline": "1h", **limit})
    choice = choose_thresholds(options, "shapes", MODEL)
    assert choice.deadline is not None
    sets = choice.deadline.threshold_sets
    assert choice.thresholds == sets[-1].thresholds
    return sets, choice.promises


def are_nested(sets: tuple[ThresholdSet, ...]) -> bool:
    rows = np.array([each.thresholds for each in sets])
    return bool((np.diff(rows, axis=0) <= 0).all())


def test_every_set_of_the_shipped_model_is_certified_for_a_drop() -> None:
    sets, (promise, reach) = chosen(max_drop=0.01)
    _, second = RECORDED.halves()
    assert len(sets) > 24
    assert sets[0].thresholds == (2.0, 2.0)
    assert are_nested(sets)
    for each in sets:
        num_lost = round(share_lost_at_worst(second, each.thresholds) * second.num_images)
        assert binomial_p_value(num_lost, second.num_images, 0.01) <= DEFAULT_DELTA
    assert sets[-1].gmacs < 0.2 * sets[0].gmacs
    assert promise == (
        "certified at any time of the run: at most 1 % of accuracy is lost against full depth, "
        "95 % sure"
    )
    assert reach.startswith(f"{len(sets)} sets of thresholds, down to ")


def test_every_set_of_the_shipped_model_is_above_its_floor() -> None:
    sets, (promise, _) = chosen(floor=0.97)
    _, second = RECORDED.halves()
    assert are_nested(sets)
    assert len(sets) > 24
    for each in sets:
        lost = share_lost_at_worst(second, each.thresholds)
        assert second.right("accuracy")[-1].mean() - lost >= 0.97
        assert each.gmacs == pytest.approx(
            mean_gmacs(RECORDED.confidences, each.thresholds, IDENTITY.gmacs_per_exit)
        )
    assert promise.startswith("expected at any time of the run: accuracy of at least 97 % on ")


def test_a_floor_above_full_depth_is_refused() -> None:
    with pytest.raises(ModelError, match=r"floor: must be at most full depth's accuracy .* 98\."):
        chosen(floor=0.999)


def test_the_certificate_of_the_default_thresholds_holds_on_the_calibration_set() -> None:
    """No candidate sequence is needed to repeat the test of the accepted thresholds."""
    model = dvt.load_model("cifar10")
    recorded = load_calibration_set("cifar10", calibrated_model(model))
    thresholds, provenance = model.calibration.thresholds, model.calibration.provenance
    assert thresholds is not None
    assert provenance is not None
    assert (provenance.certified, provenance.max_drop, provenance.delta) == (True, 0.01, 0.01)
    certificate = certify_sequence([thresholds], *recorded.halves(), "accuracy", 0.01, 0.01)
    assert certificate.num_accepted == 1
    assert certificate.p_value == pytest.approx(provenance.p_value)


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_the_calibration_set_of_a_shipped_model_belongs_to_its_weights(name: str) -> None:
    model = dvt.load_model(name)
    recorded = load_calibration_set(name, calibrated_model(model))
    assert recorded.num_images > 500
    if name == "photos":
        signal = model.groups.signal("group")
        assert load_calibration_set(name, calibrated_model(model), signal).num_images > 500
