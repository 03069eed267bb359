"""`pictures`: who leaves early, class by class, and a sheet of the easiest and hardest pictures.

The thresholds are those that the checkpoint carries. The sheet shows pictures of the data set,
which are not the project's to publish: it is drawn only into a folder that --out names.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import dvt
from benchmarks.evidence.models import SCHEDULES
from benchmarks.evidence.picture_sets import PictureSets
from benchmarks.evidence.records import Exits, Record
from benchmarks.evidence.results import publish, read_record
from dvt.calibration import clopper_pearson, exits_taken
from pipeline.errors import UsageError

__all__ = ["class_figures", "easiest_and_hardest", "pictures"]

_A_CLASS = 8  # pictures of either kind
_SCALE, _GAP, _NAME_WIDTH = 2, 4, 84


def pictures(given: Namespace) -> None:
    """Tells the shares of all classes, and draws the sheet where --out says where."""
    cascade = _cascade(given)
    thresholds = cascade.facts.thresholds
    if thresholds is None:
        raise UsageError(f"models: {cascade.facts.name} carries no thresholds")
    exits_n = exits_taken(cascade.test.confidences, thresholds)
    figures = {
        "model": cascade.facts.name,
        "thresholds": thresholds,
        "classes": class_figures(cascade.test, exits_n, cascade.facts.classes),
    }
    if given.out is not None:
        sheet = _sheet(given, cascade, exits_n)
        print(f"drawn: {sheet}", file=given.messages)
    publish("pictures", figures, [cascade.facts], given)


def _cascade(given: Namespace) -> Record:
    """The shipped cascade, or what is there instead."""
    names = [schedule.cascade for schedule in reversed(SCHEDULES)]
    for name in names if given.of is None else [given.of]:
        record = read_record(given, name)
        if record is not None:
            return record
    raise UsageError(f"records: {given.records} has no cascade; run `record` first")


def class_figures(
    exits: Exits, exits_n: NDArray[np.int64], classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Of every class: shares of its pictures that leave at each exit, and their accuracy."""
    correct = exits.correct[exits_n, np.arange(len(exits_n))]
    found = []
    for number, name in enumerate(classes):
        rows = exits.labels == number
        if not rows.any():
            continue
        counts = np.bincount(exits_n[rows], minlength=len(exits.correct))
        low, high = clopper_pearson(int(correct[rows].sum()), int(rows.sum()))
        found.append(
            {
                "class": name,
                "num_images": int(rows.sum()),
                "shares": (counts / rows.sum()).tolist(),
                "accuracy": float(correct[rows].mean()),
                "low": low,
                "high": high,
                "accuracy_full_depth": float(exits.correct[-1, rows].mean()),
            }
        )
    return found


def easiest_and_hardest(
    exits: Exits, exits_n: NDArray[np.int64], class_id: int, number: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pictures of a class, by place in the data.

    Args:
        exits: of all pictures.
        exits_n: taken by them, from 0.
        class_id: the class.
        number: of either kind at most.

    Returns:
        Those that the first exit is surest of among those that leave there; and those that it is
        least sure of among those that go on to the last.
    """
    own = np.flatnonzero(exits.labels == class_id)
    ranked = own[np.argsort(-exits.confidences[0, own], kind="stable")]
    easiest = ranked[exits_n[ranked] == 0][:number]
    hardest = ranked[exits_n[ranked] == len(exits.correct) - 1][::-1][:number]
    return easiest, hardest


def _sheet(given: Namespace, cascade: Record, exits_n: NDArray[np.int64]) -> Path:
    """One row a class: its name, the easiest pictures, the hardest ones."""
    model = dvt.load_model(given.models / cascade.facts.name)
    loaded, facts = PictureSets().test(given, model)
    if facts != cascade.facts.test:
        raise UsageError(f"data: {given.data} has other pictures than the record; run `record`")
    side = loaded.pixels.shape[1] * _SCALE
    step, half = side + _GAP, _A_CLASS * (side + _GAP)
    size = (_NAME_WIDTH + 2 * half + 4 * _GAP, step * len(cascade.facts.classes) + 20)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    starts = (_NAME_WIDTH, _NAME_WIDTH + half + 4 * _GAP)
    for left, title in zip(starts, ("leave first", "go on to the last exit"), strict=True):
        draw.text((left, 4), title, fill="black")
    for number, name in enumerate(cascade.facts.classes):
        top = 20 + number * step
        draw.text((4, top + side // 2 - 6), name, fill="black")
        both = easiest_and_hardest(cascade.test, exits_n, number, _A_CLASS)
        for left, rows in zip(starts, both, strict=True):
            for place, row in enumerate(rows):
                picture = Image.fromarray(loaded.pixels[row]).resize((side, side))
                sheet.paste(picture, (left + place * step, top))
    given.out.mkdir(parents=True, exist_ok=True)
    path: Path = given.out / "easiest-and-hardest.jpg"
    sheet.save(path, quality=85)
    return path
