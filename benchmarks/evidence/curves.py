"""`curves`: accuracy against MACs of the cascades, and the static models as points beside them."""

from argparse import Namespace
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.evidence.bootstrap import paired_difference, resamples
from benchmarks.evidence.families import Judged, fitted_family
from benchmarks.evidence.models import SCHEDULES, Schedule
from benchmarks.evidence.records import Record
from benchmarks.evidence.results import publish, read_record, same_pictures
from dvt.calibration import clopper_pearson, evaluate_thresholds
from pipeline.errors import UsageError

__all__ = ["curves", "schedule_figures"]

_NUM_BUDGETS = 24


def curves(given: Namespace) -> None:
    """Computes the curves of all schedules whose cascade has a record."""
    schedules, facts = {}, []
    for schedule in SCHEDULES:
        cascade = read_record(given, schedule.cascade)
        if cascade is None:
            continue
        statics = {
            stage: static
            for stage, name in schedule.statics.items()
            if (static := read_record(given, name)) is not None
        }
        schedules[schedule.name] = schedule_figures(schedule, cascade, statics)
        facts += [cascade.facts, *(static.facts for static in statics.values())]
    if not schedules:
        raise UsageError(f"records: {given.records} has no cascade; run `record` first")
    publish("curves", {"schedules": schedules}, facts, given)


def schedule_figures(
    schedule: Schedule, cascade: Record, statics: dict[int, Record]
) -> dict[str, Any]:
    """Curve, exits, shipped thresholds and static models of one schedule."""
    costs, test = cascade.facts.gmacs_per_exit, cascade.test
    counts = resamples(len(test.labels), seed=0)
    static_points = []
    for stage, static in statics.items():
        same_pictures(cascade, static)
        own = static.test.correct[-1]
        static_points.append(
            {
                "stage": stage,
                "gmacs": static.facts.gmacs_per_exit[-1],
                **_share(int(own.sum()), len(own)),
                "exit_less_static": asdict(paired_difference(counts, test.correct[stage - 1], own)),
            }
        )
    return {
        "cascade": schedule.cascade,
        "num_epochs": cascade.facts.num_epochs,
        "exits": [
            {"gmacs": cost, **_share(int(correct.sum()), len(correct))}
            for cost, correct in zip(costs, test.correct, strict=True)
        ],
        "points": _points(cascade),
        "own_thresholds": _own(cascade),
        "statics": static_points,
    }


def _points(cascade: Record) -> list[dict[str, Any]]:
    """The curve: thresholds of held-out pictures, judged on test pictures, cheapest first."""
    costs, held_out, test = cascade.facts.gmacs_per_exit, cascade.validation, cascade.test
    family = fitted_family(held_out.confidences, held_out.correct, costs, _NUM_BUDGETS)
    judged = Judged.of(family, test.confidences, test.correct, costs)
    points = [
        {
            "thresholds": row.tolist(),
            "gmacs": float(gmacs.mean()),
            **_share(int(correct.sum()), len(correct)),
            "exits": np.bincount(exits, minlength=len(costs)).tolist(),
        }
        for row, gmacs, correct, exits in zip(
            family, judged.gmacs, judged.correct, judged.exits, strict=True
        )
    ]
    return sorted(points, key=lambda point: point["gmacs"])


def _own(cascade: Record) -> dict[str, Any] | None:
    """The thresholds that the checkpoint carries."""
    thresholds, test = cascade.facts.thresholds, cascade.test
    if thresholds is None:
        return None
    costs = cascade.facts.gmacs_per_exit
    point = evaluate_thresholds(test.confidences, test.correct, thresholds, costs)
    num_images = len(test.labels)
    return {
        "thresholds": thresholds,
        "gmacs": point.gmacs,
        **_share(round(point.accuracy * num_images), num_images),
        "exits": point.exits,
    }


def _share(num_correct: int, num_images: int) -> dict[str, float]:
    """Accuracy with its exact interval."""
    low, high = clopper_pearson(num_correct, num_images)
    return {"accuracy": num_correct / num_images, "low": low, "high": high}
