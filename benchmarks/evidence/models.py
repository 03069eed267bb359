"""Which models the evidence is about, and where they lie below one folder.

cifar10              the shipped cascade, long schedule
long/static_K        static relatives of its stages, the same long schedule
short/...            cascade, static relatives and ablations, one short schedule

It knows names and folders only; a model that is not there is left out by whoever asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ABLATION", "ALL_MODELS", "SCHEDULES", "Schedule", "is_trained"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Models that were trained by one recipe for the same number of epochs.

    Attributes:
        name: for tables.
        cascade: name of the cascade.
        statics: static relatives by stage, from 1.
    """

    name: str
    cascade: str
    statics: dict[int, str]


SCHEDULES = (
    Schedule("short", "short/cascade", {stage: f"short/static_{stage}" for stage in (1, 2, 3)}),
    Schedule("long", "cifar10", {stage: f"long/static_{stage}" for stage in (1, 2, 3)}),
)

ABLATION = {
    "both": "short/cascade",
    "no feature reuse": "short/no_feature_reuse",
    "no relation reuse": "short/no_relation_reuse",
    "no reuse": "short/no_reuse",
}


def _all_models() -> Iterator[str]:
    for schedule in SCHEDULES:
        yield schedule.cascade
        yield from schedule.statics.values()
    yield from ABLATION.values()


ALL_MODELS = tuple(dict.fromkeys(_all_models()))


def is_trained(folder: Path) -> bool:
    """Whether a folder holds a finished training: its configuration is written last."""
    return (folder / "config.json").is_file()
