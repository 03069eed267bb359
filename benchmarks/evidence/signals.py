"""`signals`: what an exit should go by: confidence (the paper), margin, or entropy.

Each signal has a family of thresholds of its own, fitted on held-out pictures. On test pictures
accuracies are compared at the same mean MACs there: at a budget each curve is read off between its
neighbouring points, in every round of the bootstrap anew.
"""

from argparse import Namespace
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence.bootstrap import Counts, estimate, means, resamples
from benchmarks.evidence.families import Judged, fitted_family, interpolated
from benchmarks.evidence.models import SCHEDULES
from benchmarks.evidence.records import Exits, Record
from benchmarks.evidence.results import publish, read_record
from pipeline.errors import UsageError

__all__ = ["SIGNALS", "signals", "signals_of"]

SIGNALS = ("confidence", "margin", "entropy")

_NUM_BUDGETS = 8


def signals(given: Namespace) -> None:
    """Compares the signals on every cascade whose record is there."""
    found, facts = {}, []
    for schedule in SCHEDULES:
        cascade = read_record(given, schedule.cascade)
        if cascade is None:
            continue
        facts.append(cascade.facts)
        found[schedule.name] = signals_of(cascade)
    if not found:
        raise UsageError(f"records: {given.records} has no cascade; run `record` first")
    publish("signals", {"schedules": found}, facts, given)


def signals_of(cascade: Record) -> list[dict[str, Any]]:
    """Accuracy of every signal at a row of mean costs, and its difference to confidence."""
    costs = cascade.facts.gmacs_per_exit
    budgets = np.geomspace(costs[0], costs[-1], _NUM_BUDGETS + 2)[1:-1]
    counts = resamples(len(cascade.test.labels), seed=0)
    once = np.ones((1, counts.shape[1]))
    value, rounds = {}, {}
    for signal in SIGNALS:
        fit, test = (_signal(part, signal) for part in (cascade.validation, cascade.test))
        family = fitted_family(fit, cascade.validation.correct, costs)
        judged = Judged.of(family, test, cascade.test.correct, costs)
        value[signal] = _accuracies(judged, once, budgets)[0]
        rounds[signal] = _accuracies(judged, counts, budgets)
    first = SIGNALS[0]
    return [
        {
            "gmacs": float(budget),
            "accuracy": {signal: float(value[signal][place]) for signal in SIGNALS},
            "difference": {
                signal: asdict(
                    estimate(
                        value[signal][place] - value[first][place],
                        rounds[signal][:, place] - rounds[first][:, place],
                    )
                )
                for signal in SIGNALS[1:]
            },
        }
        for place, budget in enumerate(budgets)
    ]


def _signal(exits: Exits, name: str) -> NDArray[np.float32]:
    arrays = {
        "confidence": exits.confidences,
        "margin": exits.margins,
        "entropy": exits.certainties,
    }
    return arrays[name]


def _accuracies(
    judged: Judged, counts_Rn: Counts, budgets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Accuracy of a signal's curve at every budget in every round, [R, budgets]."""
    costs, accuracies = means(counts_Rn, judged.gmacs), means(counts_Rn, judged.correct)
    return np.stack(
        [interpolated(*curve, budgets) for curve in zip(costs, accuracies, strict=True)]
    )
