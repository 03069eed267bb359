"""What goes into the cascade of one actor and what comes out of it; plain data.

Shapes: n images, S pixels a side, k best labels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvt.fast import EncodedState, StateFormat

__all__ = ["Answers", "CascadeSettings", "Failure", "Hard"]


@dataclass(frozen=True, slots=True)
class CascadeSettings:
    """How the model is run.

    Attributes:
        model: what `dvt.load_model` takes; weights are loaded from there after a restart too.
        thresholds: one for each exit, the last taking everything.
        batch_size: images per forward pass.
        top_k: labels named per image.
        num_threads: of the processor.
        device: "cpu" or "cuda".
        dtype: "float32" or "bfloat16".
        stages: first and last, from 1; None for all.
        state_format: of what hard images carry to another actor.
        shares_answers: they are told to the coordinator too, for copies of the images.
    """

    model: str
    thresholds: tuple[float, ...]
    batch_size: int
    top_k: int
    num_threads: int
    device: str
    dtype: str
    stages: tuple[int, int] | None = None
    state_format: StateFormat = "float32"
    shares_answers: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """What one batch's confident images were told, row by row.

    Attributes:
        tickets: the caller's numbers for the images, [n] int64.
        top_label_ids: best first, [n, k] int64.
        top_scores: softmax probabilities, [n, k] float32; the first is the confidence.
        exit_stage: from 1, the same for all of them.
        exit_confidences: of every stage that ran, [n, exit_stage] float32.
    """

    tickets: NDArray[np.int64]
    top_label_ids: NDArray[np.int64]
    top_scores: NDArray[np.float32]
    exit_stage: int
    exit_confidences: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Failure:
    """One image on which a stage raised, though it ran alone."""

    ticket: int
    detail: str


@dataclass(frozen=True, slots=True)
class Hard:
    """Images that were not sure enough, with all they carry from one actor to the next.

    Attributes:
        tickets: the caller's numbers for the images, [n] int64.
        pixels: [n, S, S, 3] uint8.
        state: of the last stage that ran; None in front of the first.
        confidences: of the stages that ran, [n, stages] float32.
    """

    tickets: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    state: EncodedState | None
    confidences: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tickets)

    def __getitem__(self, rows: slice) -> "Hard":
        """Some of the images, without a copy."""
        return Hard(
            self.tickets[rows],
            self.pixels[rows],
            None if self.state is None else self.state[rows],
            self.confidences[rows],
        )
