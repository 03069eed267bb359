"""The honest baseline of a cascade: its members, each alone, on the same images and machine.

A cascade is worth its name only if no single member has its accuracy at its speed.
Shapes: n images, S pixels per side.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt.calibration.points import exits_taken
from dvt.device import best_device
from dvt.exits import ALWAYS_EXIT, FULL_DEPTH
from dvt.inference.profiling import time_in_turns
from dvt.members.cascade import MemberCascade
from dvt.model import Model
from jobs.datasets import open_labelled
from jobs.evaluation.recorder import ExitRecorder
from pipeline.cascade.runner import CascadeRunner
from pipeline.progress import ProgressListener
from pipeline.runtime.resource_plan import decode_settings

__all__ = ["SingleModel", "SingleModels", "compare_with_members"]

_ROUNDS = 3
_NUM_TIMED = 512
_Z = 1.96  # of a two-sided interval of 95 %


@dataclass(frozen=True, slots=True)
class SingleModel:
    """One model on the evaluated images.

    Attributes:
        name: of the model.
        gmacs: mean cost of an image.
        accuracy: share of right answers.
        images_per_second: of the model alone, from decoded pixels to answers.
        difference: accuracy less that of the cascade.
        margin: half the width of the paired 95 % interval of the difference.
    """

    name: str
    gmacs: float
    accuracy: float
    images_per_second: float
    difference: float = 0.0
    margin: float = 0.0

    @property
    def is_clearly_worse(self) -> bool:
        """Whether the whole interval is below the cascade's accuracy."""
        return self.difference + self.margin < 0


@dataclass(frozen=True, slots=True)
class SingleModels:
    """A cascade at its default thresholds, and its members alone."""

    cascade: SingleModel
    members: tuple[SingleModel, ...]

    @property
    def best(self) -> SingleModel:
        """The fastest member that is not clearly worse; else the most accurate one."""
        equal = [member for member in self.members if not member.is_clearly_worse]
        if equal:
            return max(equal, key=lambda member: member.images_per_second)
        return max(self.members, key=lambda member: member.accuracy)

    def as_json(self) -> dict[str, Any]:
        """All figures, and the baseline's name."""

        def fields(model: SingleModel) -> dict[str, Any]:
            return {name: getattr(model, name) for name in SingleModel.__slots__}

        return {
            "cascade": fields(self.cascade),
            "members": [fields(member) for member in self.members],
            "baseline": self.best.name,
            "speedup": self.cascade.images_per_second / self.best.images_per_second,
        }

    def lines(self) -> list[str]:
        """As text."""
        lines = ["each member alone, timed in turns with the cascade:"]
        lines += [f"  {_text(member)}, {_difference(member)}" for member in self.members]
        speedup = self.cascade.images_per_second / self.best.images_per_second
        return [
            *lines,
            f"  {_text(self.cascade)}",
            f"  against {self.best.name}, the best single member at equal accuracy: "
            f"{speedup:.2f}x the images per second at "
            f"{100 * self.cascade.gmacs / self.best.gmacs:.0f} % of the MACs",
        ]


def compare_with_members(
    model: MemberCascade, data: str, batch_size: int, on_progress: ProgressListener
) -> SingleModels:
    """Evaluates and times a cascade and each of its members.

    Args:
        model: with default thresholds.
        data: labelled images.
        batch_size: images per forward pass.
        on_progress: called while images are evaluated.

    Raises:
        UsageError: the data cannot be used.
        ModelError: the cascade has no default thresholds.
    """
    thresholds = model.thresholds()
    device = best_device()
    functions: dict[str, Callable[[], object]] = {}
    found: list[tuple[str, float, NDArray[np.bool_]]] = []
    for number, one in enumerate((model, *model.members)):
        recorded = ExitRecorder(one, model.inference_dtype(device), batch_size).record_labelled(
            data, on_progress
        )
        exits_n = np.full(recorded.num_images, one.spec.num_stages - 1)
        if one is model:
            exits_n = exits_taken(recorded.confidences, thresholds[:-1])
        right_n = recorded.right("accuracy")[exits_n, np.arange(recorded.num_images)]
        gmacs = float(np.array(one.spec.gmacs_per_exit)[exits_n].mean())
        found.append((one.spec.name, gmacs, right_n))
        pixels = _pixels(one, data)
        timed = (
            thresholds
            if one is model
            else (*(FULL_DEPTH,) * (one.spec.num_stages - 1), ALWAYS_EXIT)
        )
        functions[str(number)] = _tagging(one, pixels, timed, batch_size)
    seconds = time_in_turns(functions, _ROUNDS, device)
    num_timed = min(_NUM_TIMED, len(found[0][2]))
    rates = [num_timed / statistics.median(seconds[name]) for name in functions]
    right_of_cascade = found[0][2]
    results = [
        SingleModel(name, gmacs, float(right_n.mean()), rate, *_paired(right_n, right_of_cascade))
        for (name, gmacs, right_n), rate in zip(found, rates, strict=True)
    ]
    return SingleModels(results[0], tuple(results[1:]))


def _tagging(
    model: Model, pixels_nSS3: NDArray[np.uint8], thresholds: tuple[float, ...], batch_size: int
) -> Callable[[], object]:
    device = best_device()
    executor = model.make_executor(device, model.inference_dtype(device))

    # Kept from call to call, as in a long run: hard images wait for those of the next call, so no
    # partial batch is timed.
    runner = CascadeRunner(executor, thresholds, batch_size, top_k=1)

    def run() -> object:
        runner.add(np.arange(len(pixels_nSS3)), pixels_nSS3)
        return runner.run_full()

    return run


def _pixels(model: Model, data: str) -> NDArray[np.uint8]:
    """Pixels of the first images."""
    parts: list[NDArray[np.uint8]] = []
    num_found = 0
    for batch in open_labelled(data).batches(decode_settings(model.spec)):
        parts.append(batch.pixels)
        num_found += len(batch.pixels)
        if num_found >= _NUM_TIMED:
            break
    return np.concatenate(parts)[:_NUM_TIMED]


def _paired(right_n: NDArray[np.bool_], other_n: NDArray[np.bool_]) -> tuple[float, float]:
    """Mean difference of right answers, and half the width of its interval."""
    differences = right_n.astype(np.float64) - other_n
    return float(differences.mean()), float(_Z * differences.std() / len(differences) ** 0.5)


def _text(model: SingleModel) -> str:
    return (
        f"{model.name}: {100 * model.accuracy:.2f} % at {model.gmacs:.3g} GMACs, "
        f"{model.images_per_second:,.1f} images/s"
    )


def _difference(member: SingleModel) -> str:
    points, margin = 100 * member.difference, 100 * member.margin
    return f"{points:+.2f} points ± {margin:.2f} against the cascade"
