"""The computed blocks of docs/evidence.md, each from the results of one command."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.evidence.models import MODELS
from benchmarks.evidence.results import Results
from benchmarks.evidence.wording import mmacs, percents, points, share, table, times

__all__ = ["BLOCKS", "Block"]

_GOAL = 1.6  # times fewer MACs at the accuracy of the finest static model


class Block(NamedTuple):
    """Text between a pair of markers.

    Attributes:
        source: name of the results.
        text: from these results.
    """

    source: str
    text: Callable[[Results], str]


def _models(results: Results) -> str:
    recorded = results["recorded"]
    rows = (
        (
            f"`{name}`",
            str(model["num_epochs"] or "unknown"),
            f"{model['num_parameters'] / 1e6:.2f} M",
            " / ".join(mmacs(gmacs) for gmacs in model["gmacs_per_exit"]),
            percents(model["accuracy_validation"]),
            percents(model["accuracy_test"]),
            f"`{model['digest'][:8]}`",
        )
        for name, model in ((name, recorded[name]) for name in MODELS if name in recorded)
    )
    return table(
        ("model", "epochs", "parameters", "MMACs at the exits", "held-out, %", "test, %", "digest"),
        rows,
    )


def _recorded_on(results: Results) -> str:
    held_out, test = (
        ", ".join(
            f"{one['num_images']:,} (`{one['name']}`, `{one['digest']}`)" for one in results[key]
        )
        for key in ("validation", "test")
    )
    return (
        f"Recorded in float32 on {_machine(results)}, commit `{results['commit']}`; held-out "
        f"images: {held_out}; test images: {test}."
    )


def _verdict(results: Results) -> str:
    """The answer, whichever way it came out."""
    pair = max(results["savings"], key=lambda pair: int(pair["stage"]))
    held_out, on_test = pair["held_out"], pair["equal_on_test"]
    if held_out["saving"] is None:
        return "The cascade does **not** reach the accuracy of the finest static model."
    reached = [
        way["saving"] is not None and way["saving"]["value"] >= _GOAL for way in (held_out, on_test)
    ]
    goal = f"The goal of {_GOAL}× is {'' if all(reached) else '**not** '}reached."
    if any(reached) and not all(reached):
        by = "held-out" if reached[0] else "test"
        goal = f"The goal of {_GOAL}× is reached **only** with thresholds chosen on {by} images."
    return (
        f"**{times(held_out['saving'])}** fewer MACs than the finest static model; its accuracy on "
        f"test images differs by {points(held_out['accuracy_difference'])} points. At equal "
        f"accuracy there, **{times(on_test['saving'])}**. {goal}"
    )


def _exits(results: Results) -> str:
    figures = results["schedules"]["short"]
    statics = {static["stage"]: static for static in figures["statics"]}
    rows = []
    for number, own in enumerate(figures["exits"], start=1):
        compared = ("–", "–", "–")
        if static := statics.get(number):
            compared = (mmacs(static["gmacs"]), share(static), points(static["exit_less_static"]))
        rows.append((f"exit {number}", mmacs(own["gmacs"]), share(own), *compared))
    if own := figures["own_thresholds"]:
        rows.append(("default thresholds", mmacs(own["gmacs"]), share(own), "–", "–", "–"))
    head = ("cascade", "MMACs", "accuracy, %", "static: MMACs", "accuracy, %", "exit less static")
    return table(head, rows)


def _savings(results: Results) -> str:
    rows = [_saving(pair) for pair in results["savings"]]
    head = (
        "static model",
        "test accuracy at MMACs",
        "cascade's MMACs",
        "its accuracy less static's, points",
        "saving, chosen on held-out",
        "saving at equal test accuracy",
    )
    return table(head, rows)


def _saving(pair: Mapping[str, Any]) -> tuple[str, ...]:
    held_out, reached = pair["held_out"], pair["held_out"]["saving"] is not None
    return (
        f"stage {pair['stage']}",
        f"{100 * held_out['static_accuracy']:.2f} % at {mmacs(held_out['static_gmacs'])}",
        mmacs(held_out["gmacs"]) if reached else "–",
        points(held_out["accuracy_difference"]) if reached else "–",
        times(held_out["saving"]),
        times(pair["equal_on_test"]["saving"]),
    )


def _throughput(results: Results) -> str:
    rows = [
        (
            f"stage {pair['stage']}",
            run["dtype"],
            str(run["batch_size"]),
            f"{run['static_images_per_second']:,.0f}",
            f"{run['images_per_second']:,.0f}",
            f"{run['ratio']:.2f}× ({run['ratio_low']:.2f}–{run['ratio_high']:.2f})",
            f"{pair['gmacs_ratio']:.2f}×",
        )
        for pair in results["pairs"]
        for run in pair["runs"]
    ]
    head = (
        "static model",
        "precision",
        "batch",
        "static, images/s",
        "cascade, images/s",
        "speedup (least–most)",
        "saving in MACs",
    )
    measured = f"{results['rounds']} rounds, load average before: {results['load_average']:.1f}"
    return f"{_machine(results)}; {measured}.\n\n" + table(head, rows)


def _machine(results: Results) -> str:
    hardware = results["hardware"]
    devices = ", ".join(hardware["gpus"]) or f"{hardware['cpu']}, {hardware['num_cpus']} cores"
    return f"{devices}, threads: {results['threads']}, torch {results['versions']['torch']}"


BLOCKS = {
    "verdict": Block("savings", _verdict),
    "models": Block("record", _models),
    "recorded-on": Block("record", _recorded_on),
    "exits": Block("curves", _exits),
    "savings": Block("savings", _savings),
    "throughput": Block("throughput", _throughput),
}
