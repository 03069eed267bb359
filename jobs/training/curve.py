"""The learning curve in OUT/training/: JSON lines, a drawing, and TensorBoard event files.

The drawing needs matplotlib (extra `plot`), the event files tensorboardX (extra `tensorboard`);
without the package the file is not written.
"""

import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dvt.atomic_io import atomic_write
from dvt.training import EpochResult

__all__ = ["LearningCurve"]


class LearningCurve:
    """Writes `curve.jsonl`, `curve.svg` and `tensorboard/`.

    Args:
        root: existing folder or one that `write` creates.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._num_written = 0
        self._events = _EventFile(root / "tensorboard")

    def write(self, results: Sequence[EpochResult]) -> None:
        """Writes the curve of all epochs so far; does nothing if no epoch is new."""
        if len(results) == self._num_written:
            return
        self._root.mkdir(parents=True, exist_ok=True)
        self._events.write(results)
        with atomic_write(self._root / "curve.jsonl") as partial:
            partial.write_text("".join(f"{json.dumps(asdict(result))}\n" for result in results))
        drawing = _draw(results)
        if drawing is not None:
            with atomic_write(self._root / "curve.svg") as partial:
                partial.write_bytes(drawing)
        self._num_written = len(results)

    def close(self) -> None:
        """Closes the event file."""
        self._events.close()


class _EventFile:
    """TensorBoard's event file of this process.

    Event files only grow, and a resumed training may be behind what the previous process wrote. So
    each process replaces earlier files by the whole curve, and no point appears twice.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._num_written = 0

    def write(self, results: Sequence[EpochResult]) -> None:
        if self._writer is None:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                return
            for earlier in self._folder.glob("events.out.tfevents.*"):
                earlier.unlink()
            # Tells a running TensorBoard to forget the points of the earlier file.
            self._writer = SummaryWriter(str(self._folder), purge_step=1)
        now, unwritten = time.time(), results[self._num_written :]
        for number, result in enumerate(unwritten):
            # Reconstructs when the epochs of earlier processes finished from their durations.
            finished = now - sum(later.seconds for later in unwritten[number + 1 :])
            self._add(result, finished)
        self._num_written = len(results)
        self._writer.flush()

    def _add(self, result: EpochResult, finished: float) -> None:
        values = {
            "loss": result.loss,
            "learning_rate": result.learning_rate,
            "seconds": result.seconds,
        }
        for number, accuracy in enumerate(result.accuracy_per_exit, start=1):
            values[f"validation_accuracy/exit_{number}"] = accuracy
        for name, value in values.items():
            self._writer.add_scalar(name, value, result.epoch, walltime=finished)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _draw(results: Sequence[EpochResult]) -> bytes | None:
    """Loss and accuracies by epoch as SVG; None without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return None
    epochs = [result.epoch for result in results]
    with mpl.rc_context({"svg.hashsalt": "dvt", "font.size": 10}):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(epochs, [result.loss for result in results], marker=".")
        left.set_ylabel("training loss, sum over exits")
        for number in range(len(results[0].accuracy_per_exit)):
            accuracies = [100 * result.accuracy_per_exit[number] for result in results]
            right.plot(epochs, accuracies, marker=".", label=f"exit {number + 1}")
        right.set_ylabel("validation accuracy, %")
        right.legend(frameon=False)
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.grid(alpha=0.3)
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
