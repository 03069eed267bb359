"""Groups of images in the cascade of one actor: what arrives, what waits, and what leaves.

Shapes: n images, S pixels per side, k best labels, G groups.
"""

from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.inference import EncodedState
from dvt.reuse import StageState
from pipeline.audit.held_predictions import HeldPredictions

__all__ = ["Failure", "ForwardedBatch", "Predictions", "QueuedBatch"]


Pixels = TypeVar("Pixels", NDArray[np.uint8], Tensor)
State = TypeVar("State", EncodedState, StageState)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for images that left at one exit.

    Attributes:
        row_ids: the caller's numbers for the images, [n] int64.
        top_label_ids: the label, then the other best ones in order, [n, k] int64.
        top_scores: softmax probabilities, [n, k] float32; the first is the confidence.
        group_scores: of the model's groups, [n, G] float32; 0 below `dvt.exits.GROUP_FLOOR`.
        exit_stage: from 1, the same for all images.
        exit_confidences: exit signal of each stage up to the exit, [n, exit_stage] float32.
        audit_label_ids: best label of the last stage for audited images, -1 for others, [n] int64;
            None if no image is audited.
        audit_confidences: of these labels, [n] float32; None if no image is audited.
        embeddings: of the first stage, [n, D] float16; None without embeddings.
    """

    row_ids: NDArray[np.int64]
    top_label_ids: NDArray[np.int64]
    top_scores: NDArray[np.float32]
    group_scores: NDArray[np.float32]
    exit_stage: int
    exit_confidences: NDArray[np.float32]
    audit_label_ids: NDArray[np.int64] | None = None
    audit_confidences: NDArray[np.float32] | None = None
    embeddings: NDArray[np.float16] | None = None

    @classmethod
    def from_held(
        cls,
        held: HeldPredictions,
        row_ids: NDArray[np.int64],
        confidences: NDArray[np.float32],
        embeddings: NDArray[np.float16] | None,
    ) -> Self:
        """Predictions of audited images of one exit, which continued to the last stage.

        Args:
            held: their predictions.
            row_ids: [n].
            confidences: of at least the stages up to the exit, [n, stages].
            embeddings: [n, D]; None without embeddings.
        """
        exit_stage = int(held.exit_stages[0])
        return cls(
            row_ids=row_ids,
            top_label_ids=held.top_label_ids.astype(np.int64),
            top_scores=held.top_scores,
            group_scores=held.group_scores,
            exit_stage=exit_stage,
            exit_confidences=confidences[:, :exit_stage],
            embeddings=embeddings,
        )

    def with_audit(self, held: HeldPredictions) -> "list[Predictions]":
        """Adds these predictions of the last stage, as audit columns, to the held ones.

        Args:
            held: of the same images.

        Returns:
            One entry for each exit. Images without a held prediction keep that of the last stage.
        """
        audited = replace(
            self,
            audit_label_ids=np.where(held.is_audited, self.top_label_ids[:, 0], -1),
            audit_confidences=self.top_scores[:, 0],
        )
        by_exit = [audited[~held.has_prediction]] if not held.has_prediction.all() else []
        for exit_stage in np.unique(held.exit_stages[held.has_prediction]).tolist():
            here = held.exit_stages == exit_stage
            last = audited[here]
            early = Predictions.from_held(
                held[here], last.row_ids, last.exit_confidences, last.embeddings
            )
            by_exit.append(
                replace(
                    early,
                    audit_label_ids=last.audit_label_ids,
                    audit_confidences=last.audit_confidences,
                )
            )
        return by_exit

    def __getitem__(self, rows: NDArray[np.bool_]) -> "Predictions":
        """Selects images."""
        ids, confidences = self.audit_label_ids, self.audit_confidences
        return Predictions(
            self.row_ids[rows],
            self.top_label_ids[rows],
            self.top_scores[rows],
            self.group_scores[rows],
            self.exit_stage,
            self.exit_confidences[rows],
            None if ids is None else ids[rows],
            None if confidences is None else confidences[rows],
            None if self.embeddings is None else self.embeddings[rows],
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """One image on which a stage raised although it ran alone."""

    row_id: int
    detail: str


@dataclass(frozen=True, slots=True)
class ImageBatch(Generic[Pixels, State]):
    """Images with all that they carry from stage to stage.

    Attributes:
        row_ids: the caller's numbers for the images, [n] int64.
        pixels: [n, S, S, 3] uint8.
        state: of the last stage that ran; None before the first.
        confidences: of the stages that ran, [n, stages] float32.
        held: predictions of audited images; None if nothing is audited.
        embeddings: [n, D] float16; None before the first stage, and without embeddings.
    """

    row_ids: NDArray[np.int64]
    pixels: Pixels
    state: State | None
    confidences: NDArray[np.float32]
    held: HeldPredictions | None = None
    embeddings: NDArray[np.float16] | None = None

    def __len__(self) -> int:
        return len(self.row_ids)

    def __getitem__(self, rows: Any) -> Self:
        """Selects images by a slice, without a copy, or in host memory by row numbers."""
        return type(self)(
            self.row_ids[rows],
            self.pixels[rows],
            None if self.state is None else self.state[rows],
            self.confidences[rows],
            None if self.held is None else self.held[rows],
            None if self.embeddings is None else self.embeddings[rows],
        )

    def cut(self, start: int, stop: int) -> Self:
        """The images start..stop-1, without a copy."""
        return self[start:stop]

    @classmethod
    def join(cls, batches: list[Self]) -> Self:
        """Concatenates batches."""
        pixels: list[Any] = [batch.pixels for batch in batches]
        joined: Any = torch.cat(pixels) if isinstance(pixels[0], Tensor) else np.concatenate(pixels)
        states = [batch.state for batch in batches if batch.state is not None]
        held = [batch.held for batch in batches if batch.held is not None]
        embeddings = [batch.embeddings for batch in batches if batch.embeddings is not None]
        return cls(
            np.concatenate([batch.row_ids for batch in batches]),
            joined,
            type(states[0]).join(states) if states else None,
            np.concatenate([batch.confidences for batch in batches]),
            HeldPredictions.join(held) if held else None,
            np.concatenate(embeddings) if embeddings else None,
        )


class ForwardedBatch(ImageBatch[NDArray[np.uint8], EncodedState]):
    """Images on their way from one actor to the next, in host memory."""

    __slots__ = ()


class QueuedBatch(ImageBatch[Tensor, StageState]):
    """Images in the staged queue of one actor, on its device."""

    __slots__ = ()
