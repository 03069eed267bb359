"""`savings`: how many times fewer MACs a cascade needs for the accuracy of a static model.

Told in three ways, from the strictest to the paper's:

held_out        thresholds that reach the static model's accuracy on held-out pictures; judged on
                test pictures, where the two may then differ a little
equal_on_test   the same family of thresholds, fitted on held-out pictures; its cheapest member that
                reaches the static model's accuracy on test pictures
chosen_on_test  fitted and chosen on the test pictures themselves, as the paper's tables are

The interval of a saving repeats the choice in every round, on pictures drawn anew from held-out and
test pictures, the same for both models.
"""

from argparse import Namespace
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence.bootstrap import Counts, estimate, means, paired_difference, resamples
from benchmarks.evidence.families import NONE, Judged, cheapest_reaching, fitted_family
from benchmarks.evidence.models import SCHEDULES
from benchmarks.evidence.records import Record
from benchmarks.evidence.results import publish, read_record, same_pictures
from pipeline.errors import UsageError

__all__ = ["GOAL", "WAYS", "chosen_thresholds", "families_of", "saving", "savings"]

Floats = NDArray[np.float64]

GOAL = 1.6  # times fewer MACs at the accuracy of the finest static model

WAYS = ("held_out", "equal_on_test", "chosen_on_test")


def savings(given: Namespace) -> None:
    """Computes the savings against all static models whose records are there."""
    found, facts = [], []
    for schedule in SCHEDULES:
        cascade = read_record(given, schedule.cascade)
        if cascade is None:
            continue
        facts.append(cascade.facts)
        families = families_of(cascade)
        for stage, name in schedule.statics.items():
            static = read_record(given, name)
            if static is None:
                continue
            facts.append(static.facts)
            ways = {way: saving(cascade, static, way, families[way]) for way in WAYS}
            found.append({"schedule": schedule.name, "stage": stage, **ways})
    if not found:
        raise UsageError(f"records: {given.records} has no cascade with a static model beside it")
    publish("savings", {"goal": GOAL, "savings": found}, facts, given)


def families_of(cascade: Record) -> dict[str, Floats]:
    """The thresholds to choose from, for each way."""
    on_held_out, on_test = (
        fitted_family(part.confidences, part.correct, cascade.facts.gmacs_per_exit)
        for part in (cascade.validation, cascade.test)
    )
    return dict(zip(WAYS, (on_held_out, on_held_out, on_test), strict=True))


def saving(cascade: Record, static: Record, way: str, family: Floats) -> dict[str, Any]:
    """The saving of a cascade at a static model's accuracy.

    Args:
        cascade: its record.
        static: on the same pictures.
        way: one of `WAYS`.
        family: the thresholds to choose from, that way.

    Returns:
        The figures of the chosen thresholds on test pictures; `saving` is None where the cascade
        does not reach that accuracy.
    """
    same_pictures(cascade, static)
    costs, static_gmacs = cascade.facts.gmacs_per_exit, static.facts.gmacs_per_exit[-1]
    test = cascade.test
    test_counts = resamples(len(test.labels), seed=0)
    choose, choose_static, choose_counts = test, static.test, test_counts
    if way == "held_out":
        choose, choose_static = cascade.validation, static.validation
        choose_counts = resamples(len(choose.labels), seed=1)
    by = Judged.of(family, choose.confidences, choose.correct, costs)
    on_test = Judged.of(family, test.confidences, test.correct, costs)
    once = np.ones((1, len(choose.labels)))
    chosen = int(_chosen(by, once, choose_static.correct[-1])[0])
    rounds = _chosen(by, choose_counts, choose_static.correct[-1])
    spent = means(test_counts, on_test.gmacs)
    # Where no thresholds reach it, full depth is what comes nearest.
    spent_R = np.where(rounds == NONE, costs[-1], spent[np.arange(len(rounds)), rounds])
    figures: dict[str, Any] = {
        "static_gmacs": static_gmacs,
        "static_accuracy": static.test.accuracy_per_exit[-1],
        "share_of_rounds_reached": float((rounds != NONE).mean()),
        "saving": None,
    }
    if chosen == NONE:
        return figures
    gmacs = float(on_test.gmacs[chosen].mean())
    ratio = asdict(estimate(static_gmacs / gmacs, static_gmacs / spent_R))
    difference = paired_difference(test_counts, on_test.correct[chosen], static.test.correct[-1])
    return figures | {
        "thresholds": family[chosen].tolist(),
        "gmacs": gmacs,
        "accuracy": float(on_test.correct[chosen].mean()),
        "accuracy_difference": asdict(difference),
        "exits": np.bincount(on_test.exits[chosen], minlength=len(costs)).tolist(),
        "saving": ratio,
    }


def chosen_thresholds(cascade: Record, static: Record) -> tuple[float, ...] | None:
    """Thresholds that reach the static model's accuracy on held-out pictures; None if none do."""
    held_out = WAYS[0]
    family = families_of(cascade)[held_out]
    thresholds = saving(cascade, static, held_out, family).get("thresholds")
    return None if thresholds is None else tuple(thresholds)


def _chosen(by: Judged, counts_Rn: Counts, static_n: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The member chosen in every round."""
    targets = means(counts_Rn, static_n[None])[:, 0]
    return cheapest_reaching(means(counts_Rn, by.gmacs), means(counts_Rn, by.correct), targets)
