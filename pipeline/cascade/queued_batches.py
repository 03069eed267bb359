"""Images in the staged queue of one actor, with all they carry; on the actor's device.

Shapes: n images, S pixels a side.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.reuse import StageState
from pipeline.audit.held_predictions import HeldPredictions
from pipeline.cascade.batches import Predictions

__all__ = ["QueuedBatch"]


@dataclass(frozen=True, slots=True)
class QueuedBatch:
    """Images in the queue (`Rows`), with all they carry.

    Attributes:
        row_ids: [n] int64.
        pixels: [n, S, S, 3] uint8.
        state: of the stage before; None in front of the first.
        confidences: of the stages passed, [n, passed] float32.
        early: what those of an audit were told; None where nothing is audited.
    """

    row_ids: NDArray[np.int64]
    pixels: Tensor
    state: StageState | None
    confidences: NDArray[np.float32]
    early: HeldPredictions | None = None

    def __len__(self) -> int:
        return len(self.row_ids)

    def cut(self, start: int, stop: int) -> Self:
        """The images start..stop-1."""
        rows = slice(start, stop)
        return type(self)(
            self.row_ids[rows],
            self.pixels[rows],
            None if self.state is None else self.state[rows],
            self.confidences[rows],
            None if self.early is None else self.early[rows],
        )

    @classmethod
    def join(cls, parts: "list[Self]") -> Self:
        """Several groups of images, one behind the other."""
        states = [part.state for part in parts if part.state is not None]
        early = [part.early for part in parts if part.early is not None]
        return cls(
            np.concatenate([part.row_ids for part in parts]),
            torch.cat([part.pixels for part in parts]),
            StageState.join(states) if states else None,
            np.concatenate([part.confidences for part in parts]),
            HeldPredictions.join(early) if early else None,
        )

    def held_early(self) -> Predictions | None:
        """What a single image was told, if it has stayed for an audit alone."""
        if self.early is None or not self.early.has_prediction[0]:
            return None
        return Predictions.held_early(self.early, self.row_ids, self.confidences)
