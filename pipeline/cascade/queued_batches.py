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
from pipeline.cascade.batches import Answers
from pipeline.audit.held_predictions import EarlyAnswers

__all__ = ["Waiting"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Images in the queue (`Rows`), with all they carry.

    Attributes:
        tickets: [n] int64.
        pixels: [n, S, S, 3] uint8.
        state: of the stage before; None in front of the first.
        confidences: of the stages passed, [n, passed] float32.
        early: what those of an audit were told; None where nothing is audited.
    """

    tickets: NDArray[np.int64]
    pixels: Tensor
    state: StageState | None
    confidences: NDArray[np.float32]
    early: EarlyAnswers | None = None

    def __len__(self) -> int:
        return len(self.tickets)

    def cut(self, start: int, stop: int) -> Self:
        """The images start..stop-1."""
        rows = slice(start, stop)
        return type(self)(
            self.tickets[rows],
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
            np.concatenate([part.tickets for part in parts]),
            torch.cat([part.pixels for part in parts]),
            StageState.join(states) if states else None,
            np.concatenate([part.confidences for part in parts]),
            EarlyAnswers.join(early) if early else None,
        )

    def told_early(self) -> Answers | None:
        """What a single image was told, if it has stayed for an audit alone."""
        if self.early is None or not self.early.is_told[0]:
            return None
        return Answers.told_early(self.early, self.tickets, self.confidences)
