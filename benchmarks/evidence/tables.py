"""The blocks of docs/evidence.md, each from the results of one command."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.evidence.results import Results
from benchmarks.evidence.wording import exits_text, mmacs, points, share, table, times

__all__ = ["BLOCKS", "Block"]


class Block(NamedTuple):
    """Text between a pair of markers.

    Attributes:
        source: command whose results it tells.
        text: from these results.
    """

    source: str
    text: Callable[[Results], str]


def _models(results: Results) -> str:
    rows = (
        (
            f"`{name}`",
            _epochs(model["num_epochs"]),
            f"{model['num_parameters'] / 1e6:.2f} M",
            " / ".join(mmacs(gmacs) for gmacs in model["gmacs_per_exit"]),
            " / ".join(f"{100 * accuracy:.2f}" for accuracy in model["accuracy_validation"]),
            " / ".join(f"{100 * accuracy:.2f}" for accuracy in model["accuracy_test"]),
            f"`{model['digest'][:8]}`",
        )
        for name, model in results["recorded"].items()
    )
    head = (
        "model",
        "epochs",
        "parameters",
        "MMACs at the exits",
        "held-out, %",
        "test, %",
        "digest",
    )
    return table(head, rows)


def _epochs(number: int | None) -> str:
    return "not known" if number is None else str(number)


def _verdict(results: Results) -> str:
    """One sentence a schedule, whichever way it came out."""
    lines = []
    for schedule, pair in _finest(results).items():
        asked = f"{schedule} schedule, stage {pair['stage']}"
        saving = pair["held_out"]["saving"]
        if saving is None:
            lines.append(f"- {asked}: the cascade does **not** reach the static model's accuracy.")
            continue
        lines.append(
            f"- {asked}: **{times(saving)}** fewer MACs. On test pictures the cascade's accuracy "
            f"less the static model's is {points(pair['held_out']['accuracy_difference'])} points; "
            f"at equal accuracy there, **{_times(pair['equal_on_test']['saving'])}**. "
            f"{_goal(pair, results['goal'])}"
        )
    return "\n".join(lines)


def _goal(pair: Mapping[str, Any], goal: float) -> str:
    """Whether the goal is reached; both ways, for the one alone may owe it to other accuracy."""
    savings = [pair[way]["saving"] for way in ("held_out", "equal_on_test")]
    are_reached = [saving is not None and saving["value"] >= goal for saving in savings]
    if all(are_reached):
        return f"The goal of {goal}× is reached both ways."
    if any(are_reached):
        by = "held-out pictures" if are_reached[0] else "test pictures"
        return f"The goal of {goal}× is reached **only** by thresholds chosen on {by}."
    return f"The goal of {goal}× is **not** reached."


def _finest(results: Results) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for pair in results["savings"]:
        if pair["stage"] > found.get(pair["schedule"], {"stage": 0})["stage"]:
            found[pair["schedule"]] = pair
    return found


def _times(saving: Mapping[str, float] | None) -> str:
    return "not reached" if saving is None else times(saving)


def _curves(results: Results) -> str:
    parts = []
    for name, figures in results["schedules"].items():
        epochs = _epochs(figures["num_epochs"])
        parts.append(
            f"**{name.capitalize()} schedule** (epochs of the cascade: {epochs})\n\n"
            f"![accuracy against MACs, {name} schedule](evidence-curves-{name}.svg)\n\n"
            + _points_table(figures)
        )
    return "\n\n".join(parts)


def _points_table(figures: Mapping[str, Any]) -> str:
    statics = {static["stage"]: static for static in figures["statics"]}
    rows = []
    for number, own in enumerate(figures["exits"], start=1):
        static = statics.get(number)
        compared = ("–", "–", "–")
        if static is not None:
            compared = (
                mmacs(static["gmacs"]),
                share(static),
                points(static["exit_less_static"]),
            )
        rows.append((f"exit {number}", mmacs(own["gmacs"]), share(own), *compared))
    if figures["own_thresholds"] is not None:
        own = figures["own_thresholds"]
        rows.append(("its thresholds", mmacs(own["gmacs"]), share(own), "–", "–", "–"))
    head = ("cascade", "MMACs", "accuracy, %", "static: MMACs", "accuracy, %", "exit less static")
    return table(head, rows)


def _savings(results: Results) -> str:
    rows = []
    for pair in results["savings"]:
        held_out = pair["held_out"]
        spent = "–" if held_out["saving"] is None else mmacs(held_out["gmacs"])
        difference = "–" if held_out["saving"] is None else points(held_out["accuracy_difference"])
        rows.append(
            (
                f"{pair['schedule']}, stage {pair['stage']}",
                f"{100 * held_out['static_accuracy']:.2f} % at {mmacs(held_out['static_gmacs'])}",
                spent,
                difference,
                *(_times(pair[way]["saving"]) for way in ("held_out", "equal_on_test")),
                _times(pair["chosen_on_test"]["saving"]),
            )
        )
    head = (
        "static model",
        "test accuracy at MMACs",
        "cascade's MMACs",
        "its accuracy less static's, points",
        "saving, chosen on held-out",
        "saving at equal test accuracy",
        "saving, chosen on test (the paper's way)",
    )
    return table(head, rows)


def _ablation(results: Results) -> str:
    variants = results["variants"]
    numbers = range(1, len(variants[0]["exits"]) + 1)
    accuracies = table(
        ("accuracy, %", *(f"exit {number}" for number in numbers), "MMACs at the exits"),
        (
            (
                variant["variant"],
                *(share(one) for one in variant["exits"]),
                " / ".join(mmacs(one["gmacs"]) for one in variant["exits"]),
            )
            for variant in variants
        ),
    )
    gains = table(
        ("both less …, points", *(f"exit {number}" for number in numbers)),
        (
            (variant["variant"], *(points(one["whole_less_this"]) for one in variant["exits"]))
            for variant in variants[1:]
        ),
    )
    drawing = "![accuracy of each exit, by what is reused](evidence-ablation.svg)"
    return f"{drawing}\n\n{accuracies}\n\n{gains}"


def _signals(results: Results) -> str:
    rows = [
        (
            name,
            mmacs(row["gmacs"]),
            *(f"{100 * accuracy:.2f}" for accuracy in row["accuracy"].values()),
            *(points(difference) for difference in row["difference"].values()),
        )
        for name, budgets in results["schedules"].items()
        for row in budgets
    ]
    head = (
        "schedule",
        "mean MMACs",
        "confidence, %",
        "margin, %",
        "entropy, %",
        "margin less confidence",
        "entropy less confidence",
    )
    return "![margin and entropy against confidence](evidence-signals.svg)\n\n" + table(head, rows)


def _classes(results: Results) -> str:
    rows = (
        (
            one["class"],
            exits_text(one["shares"]),
            share(one),
            f"{100 * one['accuracy_full_depth']:.2f}",
        )
        for one in results["classes"]
    )
    head = ("class", "leave at exit 1 / 2 / 3, %", "accuracy, %", "at full depth, %")
    thresholds = ", ".join(f"{value:.3f}" for value in results["thresholds"])
    return f"`{results['model']}`, its thresholds {thresholds}.\n\n" + table(head, rows)


def _throughput(results: Results) -> str:
    rows = [
        (
            f"{pair['schedule']}, stage {pair['stage']}",
            run["dtype"],
            str(run["batch_size"]),
            f"{run['static_images_per_second']:,.0f}",
            f"{run['images_per_second']:,.0f}",
            f"{run['ratio']:.2f}× ({run['ratio_low']:.2f}–{run['ratio_high']:.2f})",
            f"{pair['gmacs_ratio']:.2f}×",
            f"{run['ratio'] / pair['gmacs_ratio']:.0%}",
        )
        for pair in results["pairs"]
        for run in pair["runs"]
    ]
    head = (
        "against static",
        "precision",
        "batch",
        "static, images/s",
        "cascade, images/s",
        "on the clock (least–most)",
        "in MACs",
        "realised",
    )
    told = f"rounds: {results['rounds']}, load average before: {results['load_average']:.1f}"
    return f"{_machine(results)}; {told}.\n\n" + table(head, rows)


def _machine(results: Results) -> str:
    hardware = results["hardware"]
    devices = ", ".join(hardware["gpus"]) or f"{hardware['cpu']}, {hardware['num_cpus']} cores"
    return f"{devices}, threads: {results['threads']}, torch {results['versions']['torch']}"


def _recorded_on(results: Results) -> str:
    validation, test = (
        ", ".join(
            f"{one['num_images']:,} (`{one['name']}`, `{one['digest']}`)" for one in results[key]
        )
        for key in ("validation", "test")
    )
    return (
        f"Recorded in float32 on {_machine(results)}, commit `{results['commit']}`; held-out "
        f"pictures: {validation}; test pictures: {test}."
    )


BLOCKS = {
    "models": Block("record", _models),
    "recorded-on": Block("record", _recorded_on),
    "verdict": Block("savings", _verdict),
    "curves": Block("curves", _curves),
    "savings": Block("savings", _savings),
    "ablation": Block("ablation", _ablation),
    "signals": Block("signals", _signals),
    "classes": Block("pictures", _classes),
    "throughput": Block("throughput", _throughput),
}
