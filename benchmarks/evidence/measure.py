"""`measure`: accuracies, curves and savings of all models that are there."""

import sys
from argparse import Namespace
from typing import Any

import numpy as np

from benchmarks.evidence.bootstrap import paired_difference, resamples
from benchmarks.evidence.models import CASCADES, MODELS, SHIPPED, STATICS
from benchmarks.evidence.recording import RecordedModel, data_facts, record_model
from benchmarks.evidence.results import publish
from benchmarks.evidence.savings import saving
from dvt.calibration import (
    clopper_pearson,
    evaluate_thresholds,
    exits_taken,
    thresholds_for_budget,
)
from pipeline.errors import UsageError

__all__ = ["class_figures", "curve_figures", "measure", "publish_figures"]

_NUM_BUDGETS = 24


def measure(given: Namespace) -> None:
    """Records all models that are there, and computes their figures.

    Raises:
        UsageError: no model is there, or the images cannot be used.
    """
    recorded: dict[str, RecordedModel] = {}
    for name in MODELS:
        folder = given.models / name
        if not (folder / "config.json").is_file():  # training writes it last
            print(f"left out: {folder} holds no trained model", file=sys.stderr)
            continue
        print(f"recording {name}", file=sys.stderr)
        recorded[name] = record_model(name, folder, given.data)
    if not recorded:
        raise UsageError(f"models: must hold one of {', '.join(MODELS)} (got {given.models})")
    publish_figures(recorded, given)


def publish_figures(recorded: dict[str, RecordedModel], given: Namespace) -> None:
    """Computes and keeps the figures of recorded models.

    Raises:
        UsageError: they were trained without the same held-out images.
    """
    held_out = {data_facts("", one.held_out)["digest"] for one in recorded.values()}
    if len(held_out) > 1:
        raise UsageError(f"models: {', '.join(recorded)} have different held-out images")
    statics = {stage: recorded[name] for stage, name in STATICS.items() if name in recorded}
    short = recorded.get(CASCADES["short"])
    publish(
        "record", {"recorded": {name: _facts(one) for name, one in recorded.items()}},
        recorded.values(), given,
    )  # fmt: skip
    schedules = {
        schedule: curve_figures(recorded[name], statics if schedule == "short" else {})
        for schedule, name in CASCADES.items()
        if name in recorded
    }
    publish("curves", {"schedules": schedules}, recorded.values(), given)
    if short is not None:
        savings = [{"stage": stage, **saving(short, static)} for stage, static in statics.items()]
        publish("savings", {"savings": savings}, [short, *statics.values()], given)
    if SHIPPED in recorded:
        shipped = recorded[SHIPPED]
        publish("classes", class_figures(shipped), [shipped], given)


def _facts(one: RecordedModel) -> dict[str, Any]:
    return {
        **one.facts,
        "digest": one.test_exits.model_digest,
        "gmacs_per_exit": one.gmacs_per_exit,
        "accuracy_validation": one.held_out_exits.accuracy_per_exit,
        "accuracy_test": one.test_exits.accuracy_per_exit,
    }


def curve_figures(cascade: RecordedModel, statics: dict[int, RecordedModel]) -> dict[str, Any]:
    """Curve, exits and default thresholds of a cascade, with static models beside its exits.

    Args:
        cascade: evaluated on its test images.
        statics: of the same schedule, by stage from 1.
    """
    costs, test = cascade.gmacs_per_exit, cascade.test_exits
    correct = test.right("accuracy")
    counts = resamples(test.num_images, seed=0)
    budgets = np.geomspace(costs[0], costs[-1], _NUM_BUDGETS)
    fit_to = cascade.held_out_exits.confidences
    points = [
        _point(cascade, thresholds_for_budget(fit_to, costs, float(budget))) for budget in budgets
    ]
    static_points = []
    for stage, static in statics.items():
        own = static.test_exits.right("accuracy")[-1]
        static_points.append(
            {
                "stage": stage,
                "gmacs": static.gmacs_per_exit[-1],
                **_accuracy(int(own.sum()), len(own)),
                "exit_less_static": paired_difference(counts, correct[stage - 1], own).as_json(),
            }
        )
    return {
        "cascade": cascade.name,
        "exits": [
            {"gmacs": cost, **_accuracy(int(right.sum()), test.num_images)}
            for cost, right in zip(costs, correct, strict=True)
        ],
        "points": points,
        "own_thresholds": None
        if cascade.thresholds is None
        else _point(cascade, cascade.thresholds),
        "statics": static_points,
    }


def _point(cascade: RecordedModel, thresholds: tuple[float, ...]) -> dict[str, Any]:
    test = cascade.test_exits
    point = evaluate_thresholds(
        test.confidences, test.right("accuracy"), thresholds, cascade.gmacs_per_exit
    )
    return {
        "thresholds": thresholds,
        "gmacs": point.gmacs,
        **_accuracy(round(point.accuracy * test.num_images), test.num_images),
        "exits": point.exits,
    }


def class_figures(cascade: RecordedModel) -> dict[str, Any]:
    """Exits and accuracy of each class at the default thresholds.

    Raises:
        UsageError: the model has no default thresholds.
    """
    if cascade.thresholds is None:
        raise UsageError(f"models: {cascade.name} has no default thresholds")
    exits_n = exits_taken(cascade.test_exits.confidences, cascade.thresholds)
    correct_En = cascade.test_exits.right("accuracy")
    correct_n = correct_En[exits_n, np.arange(len(exits_n))]
    classes = []
    for number, name in enumerate(cascade.test.names):
        rows = cascade.test.labels == number
        num_images = int(rows.sum())
        if not num_images:
            continue
        counts = np.bincount(exits_n[rows], minlength=len(correct_En))
        classes.append(
            {
                "class": name,
                "num_images": num_images,
                "shares": (counts / num_images).tolist(),
                **_accuracy(int(correct_n[rows].sum()), num_images),
                "accuracy_full_depth": float(correct_En[-1, rows].mean()),
            }
        )
    return {"model": cascade.name, "thresholds": cascade.thresholds, "classes": classes}


def _accuracy(num_correct: int, num_images: int) -> dict[str, float]:
    """Accuracy with its exact 95 % interval."""
    low, high = clopper_pearson(num_correct, num_images)
    return {"accuracy": num_correct / num_images, "low": low, "high": high}
