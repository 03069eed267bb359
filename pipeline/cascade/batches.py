"""What goes into the cascade of one actor and what comes out of it; plain data.

Shapes: n images, S pixels a side, k best labels.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dvt.inference import EncodedState
from pipeline.audit.held_predictions import HeldPredictions

__all__ = ["Failure", "ForwardedBatch", "Predictions"]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What one batch's confident images were told, row by row.

    Attributes:
        row_ids: the caller's numbers for the images, [n] int64.
        top_label_ids: best first, [n, k] int64.
        top_scores: softmax probabilities, [n, k] float32; the first is the confidence.
        exit_stage: from 1, the same for all of them.
        exit_confidences: of every stage up to the exit, [n, exit_stage] float32.
        audit_label_ids: the last stage's best label of the images of an audit, -1 for the others,
            [n] int64; None if none of them is in one.
        audit_confidences: of these labels, [n] float32; None likewise.
    """

    row_ids: NDArray[np.int64]
    top_label_ids: NDArray[np.int64]
    top_scores: NDArray[np.float32]
    exit_stage: int
    exit_confidences: NDArray[np.float32]
    audit_label_ids: NDArray[np.int64] | None = None
    audit_confidences: NDArray[np.float32] | None = None

    @classmethod
    def held_early(
        cls, early: HeldPredictions, row_ids: NDArray[np.int64], confidences: NDArray[np.float32]
    ) -> "Predictions":
        """What images of one exit were told before they went on for an audit.

        Args:
            early: their answers.
            row_ids: [n].
            confidences: of the stages up to the exit, and maybe of others, [n, passed].
        """
        exit_stage = int(early.exit_stages[0])
        return cls(
            row_ids=row_ids,
            top_label_ids=early.top_label_ids.astype(np.int64),
            top_scores=early.top_scores,
            exit_stage=exit_stage,
            exit_confidences=confidences[:, :exit_stage],
        )

    def beside(self, early: HeldPredictions) -> list["Predictions"]:
        """The last stage's answers as those of an audit, behind what the images were told before.

        Args:
            early: of the same images.

        Returns:
            For each exit at which an image was told its answer, the images that were; this stage's
            own answers are there for all that came here without one.
        """
        audited = replace(
            self,
            audit_label_ids=np.where(early.is_audited, self.top_label_ids[:, 0], -1),
            audit_confidences=self.top_scores[:, 0],
        )
        parts = [audited[~early.has_prediction]] if not early.has_prediction.all() else []
        for exit_stage in np.unique(early.exit_stages[early.has_prediction]).tolist():
            here = early.exit_stages == exit_stage
            seen = audited[here]
            told = Predictions.held_early(early[here], seen.row_ids, seen.exit_confidences)
            parts.append(
                replace(
                    told,
                    audit_label_ids=seen.audit_label_ids,
                    audit_confidences=seen.audit_confidences,
                )
            )
        return parts

    def __getitem__(self, rows: NDArray[np.bool_]) -> "Predictions":
        """Some of the images."""
        ids, confidences = self.audit_label_ids, self.audit_confidences
        return Predictions(
            self.row_ids[rows],
            self.top_label_ids[rows],
            self.top_scores[rows],
            self.exit_stage,
            self.exit_confidences[rows],
            None if ids is None else ids[rows],
            None if confidences is None else confidences[rows],
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """One image on which a stage raised, though it ran alone."""

    row_id: int
    detail: str


@dataclass(frozen=True, slots=True)
class ForwardedBatch:
    """Images that were not sure enough, with all they carry from one actor to the next.

    Attributes:
        row_ids: the caller's numbers for the images, [n] int64.
        pixels: [n, S, S, 3] uint8.
        state: of the last stage that ran; None in front of the first.
        confidences: of the stages that ran, [n, stages] float32.
        early: what those of an audit were told; None where nothing is audited.
    """

    row_ids: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    state: EncodedState | None
    confidences: NDArray[np.float32]
    early: HeldPredictions | None = None

    def __len__(self) -> int:
        return len(self.row_ids)

    def __getitem__(self, rows: slice) -> "ForwardedBatch":
        """Some of the images, without a copy."""
        return ForwardedBatch(
            self.row_ids[rows],
            self.pixels[rows],
            None if self.state is None else self.state[rows],
            self.confidences[rows],
            None if self.early is None else self.early[rows],
        )
