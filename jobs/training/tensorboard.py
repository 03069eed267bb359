"""A learning curve for TensorBoard, as event files (tensorboardX, the extra `tensorboard`).

Event files only grow. A training that goes on may be a little behind what was written before it
was killed, so each process starts by writing the whole curve anew, and then adds to it; a point is
never there twice.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvt.training import EpochResult

__all__ = ["TensorBoardEvents"]


class TensorBoardEvents:
    """The event file of one training; without tensorboardX none is written.

    Args:
        folder: of the file; made when there is something to write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._num_written = 0

    def write(self, results: Sequence[EpochResult]) -> None:
        """Adds the epochs that are not there yet.

        Args:
            results: of all epochs so far.
        """
        if self._writer is None:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                return
            for earlier in self._folder.glob("events.out.tfevents.*"):
                earlier.unlink()
            # A TensorBoard that has read the earlier file forgets its points.
            self._writer = SummaryWriter(str(self._folder), purge_step=1)
        now, unwritten = time.time(), results[self._num_written :]
        for number, result in enumerate(unwritten):
            # Epochs of earlier processes get times that lie as far apart as they took.
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
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
