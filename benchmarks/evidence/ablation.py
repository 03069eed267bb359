"""`ablation`: what the two kinds of reuse are worth, exit by exit, beside separate models."""

from argparse import Namespace
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence.bootstrap import Counts, paired_difference, resamples
from benchmarks.evidence.models import ABLATION, SCHEDULES
from benchmarks.evidence.results import publish, read_record, same_pictures
from dvt.calibration import clopper_pearson
from pipeline.errors import UsageError

__all__ = ["ablation", "variant_figures"]

_WHOLE = "both"


def ablation(given: Namespace) -> None:
    """Compares the ablated cascades, and the static models, with the whole cascade."""
    records = {variant: read_record(given, name) for variant, name in ABLATION.items()}
    there = {variant: record for variant, record in records.items() if record is not None}
    whole = there.get(_WHOLE)
    if whole is None:
        raise UsageError(f"records: {given.records} has no {ABLATION[_WHOLE]}; run `record` first")
    facts = [record.facts for record in there.values()]
    counts = resamples(len(whole.test.labels), seed=0)
    variants = []
    for variant, record in there.items():
        same_pictures(whole, record)
        figures = variant_figures(
            whole.test.correct, record.test.correct, counts, record.facts.gmacs_per_exit
        )
        variants.append({"variant": variant, **figures})
    statics = [read_record(given, name) for name in SCHEDULES[0].statics.values()]
    alone = [static for static in statics if static is not None]
    if len(alone) == len(statics):
        for static in alone:
            same_pictures(whole, static)
        correct = np.stack([static.test.correct[-1] for static in alone])
        # To ask one after the other costs what all before have cost, as in a cascade.
        costs = np.cumsum([static.facts.gmacs_per_exit[-1] for static in alone])
        figures = variant_figures(whole.test.correct, correct, counts, costs.tolist())
        variants.append({"variant": "separate static models", **figures})
        facts += [static.facts for static in alone]
    publish("ablation", {"variants": variants}, facts, given)


def variant_figures(
    whole_En: NDArray[np.bool_],
    variant_En: NDArray[np.bool_],
    counts_Rn: Counts,
    gmacs_per_exit: tuple[float, ...],
) -> dict[str, Any]:
    """Accuracy of each exit of a variant, and what the whole cascade has over it there."""
    exits = []
    for whole, own, gmacs in zip(whole_En, variant_En, gmacs_per_exit, strict=True):
        low, high = clopper_pearson(int(own.sum()), len(own))
        gain = paired_difference(counts_Rn, whole, own)
        exits.append(
            {
                "gmacs": gmacs,
                "accuracy": float(own.mean()),
                "low": low,
                "high": high,
                "whole_less_this": asdict(gain),
            }
        )
    return {"exits": exits}
