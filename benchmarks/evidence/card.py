"""The computed blocks of docs/cifar10.md, the card of the shipped cascade."""

from benchmarks.evidence.models import SHIPPED
from benchmarks.evidence.results import Results
from benchmarks.evidence.tables import Block
from benchmarks.evidence.wording import exits_text, mmacs, percents, share, table

__all__ = ["CARD_BLOCKS"]


def _exits(results: Results) -> str:
    figures = results["schedules"]["long"]
    rows = [
        (f"all images at exit {number}", share(own), mmacs(own["gmacs"]), "–")
        for number, own in enumerate(figures["exits"], start=1)
    ]
    if own := figures["own_thresholds"]:
        named = ", ".join(f"{value:.3f}" for value in own["thresholds"])
        shares = exits_text(own["exits"])
        rows.append((f"default thresholds ({named})", share(own), mmacs(own["gmacs"]), shares))
    return table(("", "test accuracy, %", "mean MMACs", "leave at exit 1 / 2 / 3, %"), rows)


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
    return table(("class", "leave at exit 1 / 2 / 3, %", "accuracy, %", "at full depth, %"), rows)


def _training(results: Results) -> str:
    model = results["recorded"][SHIPPED]
    seconds = model["train_seconds"]
    rows = (
        ("preset", f"`{model['preset']}`"),
        ("tokens at the stages", " / ".join(f"{size}x{size}" for size in model["tokens"])),
        ("parameters", f"{model['num_parameters']:,}"),
        ("epochs", str(model["num_epochs"] or "unknown")),
        ("training time", "unknown" if seconds is None else f"{seconds:,.0f} s on a busy machine"),
        ("accuracy on the held-out images, %", percents(model["accuracy_validation"])),
        ("digest of the weights", f"`{model['digest']}`"),
    )
    return table(("", ""), rows)


CARD_BLOCKS = {
    "exits": Block("curves", _exits),
    "classes": Block("classes", _classes),
    "training": Block("record", _training),
}
