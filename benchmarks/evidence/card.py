"""The blocks of docs/cifar10.md, the card of the shipped cascade."""

from benchmarks.evidence.models import SCHEDULES
from benchmarks.evidence.results import Results
from benchmarks.evidence.tables import BLOCKS, Block
from benchmarks.evidence.wording import exits_text, mmacs, share, table

__all__ = ["CARD_BLOCKS"]

_SHIPPED = SCHEDULES[-1]
_NOT_THERE = "*Not measured yet: these results are without the shipped cascade.*"


def _exits(results: Results) -> str:
    figures = results["schedules"].get(_SHIPPED.name)
    if figures is None:
        return _NOT_THERE
    rows = [
        (f"every picture at exit {number}", share(own), mmacs(own["gmacs"]), "–")
        for number, own in enumerate(figures["exits"], start=1)
    ]
    own = figures["own_thresholds"]
    if own is not None:
        named = ", ".join(f"{value:.3f}" for value in own["thresholds"])
        shares = exits_text(own["exits"])
        rows.append((f"its thresholds ({named})", share(own), mmacs(own["gmacs"]), shares))
    return table(("", "test accuracy, %", "mean MMACs", "leave at exit 1 / 2 / 3, %"), rows)


def _training(results: Results) -> str:
    model = results["recorded"].get(_SHIPPED.cascade)
    if model is None:
        return _NOT_THERE
    seconds = model["train_seconds"]
    took = "not kept" if seconds is None else f"{seconds:,.0f} s, whatever else the machine did"
    tokens = " / ".join(f"{size}x{size}" for size in model["tokens"])
    held_out = " / ".join(f"{100 * accuracy:.2f}" for accuracy in model["accuracy_validation"])
    rows = (
        ("preset", f"`{model['preset']}`"),
        ("tokens at the stages", tokens),
        ("parameters", f"{model['num_parameters']:,}"),
        ("epochs", str(model["num_epochs"])),
        ("training took", took),
        ("accuracy on the held-out pictures, %", held_out),
        ("digest of the weights", f"`{model['digest']}`"),
    )
    return table(("", ""), rows)


def _classes(results: Results) -> str:
    text = BLOCKS["classes"].text(results)
    return text if results["model"] == _SHIPPED.cascade else _NOT_THERE


CARD_BLOCKS = {
    "exits": Block("curves", _exits),
    "training": Block("record", _training),
    "classes": Block("pictures", _classes),
}
