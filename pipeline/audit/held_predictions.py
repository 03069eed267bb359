"""Early answers of images that stay for an audit: they go to the last stage beside the others.

An image of the audit that is sure enough to leave keeps its answer and stays in the queue; at the
last stage it leaves with both. What it was told is what it would have been told without an audit.
Plain arrays; knows nothing of the model or of who is in an audit.
Shapes: n images, k best labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["HeldPredictions"]

_NONE_YET = 0
_NOT_AUDITED = -1


@dataclass(frozen=True, slots=True)
class HeldPredictions:
    """A row for each of n images, whether or not it is in the audit or has an answer.

    Attributes:
        exit_stages: where the answer was taken, from 1; 0 for an image of the audit that has none
            yet, -1 for all that are not in it; [n] int8.
        top_label_ids: best first, [n, k] int32; without meaning where there is no answer.
        top_scores: softmax probabilities, [n, k] float32; likewise.
    """

    exit_stages: NDArray[np.int8]
    top_label_ids: NDArray[np.int32]
    top_scores: NDArray[np.float32]

    @classmethod
    def none_yet(cls, is_audited: NDArray[np.bool_], num_labels: int) -> Self:
        """In front of the first stage; of which images are in the audit, [n]."""
        shape = len(is_audited), num_labels
        stages = np.where(is_audited, _NONE_YET, _NOT_AUDITED).astype(np.int8)
        return cls(stages, np.zeros(shape, np.int32), np.zeros(shape, np.float32))

    @classmethod
    def join(cls, parts: "Sequence[Self]") -> Self:
        """Several groups of images, one behind the other."""
        return cls(
            np.concatenate([part.exit_stages for part in parts]),
            np.concatenate([part.top_label_ids for part in parts]),
            np.concatenate([part.top_scores for part in parts]),
        )

    def __getitem__(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Some of the images."""
        return type(self)(self.exit_stages[rows], self.top_label_ids[rows], self.top_scores[rows])

    @property
    def is_audited(self) -> NDArray[np.bool_]:
        """Who is in the audit, [n]."""
        audited: NDArray[np.bool_] = self.exit_stages != _NOT_AUDITED
        return audited

    @property
    def has_prediction(self) -> NDArray[np.bool_]:
        """Who has an answer already, [n]."""
        told: NDArray[np.bool_] = self.exit_stages > _NONE_YET
        return told

    @property
    def num_bytes(self) -> int:
        """Size on the way to another actor."""
        return self.exit_stages.nbytes + self.top_label_ids.nbytes + self.top_scores.nbytes

    def hold(
        self,
        leaving: NDArray[np.bool_],
        exit_stage: int,
        top_label_ids: NDArray[np.int64],
        top_scores: NDArray[np.float32],
    ) -> tuple[Self, NDArray[np.bool_]]:
        """Keeps the images of the audit behind a stage that is not the last.

        Args:
            leaving: who is sure enough there, [n].
            exit_stage: from 1.
            top_label_ids: of all of them, [n, k].
            top_scores: of all of them, [n, k].

        Returns:
            The answers so far, and who leaves in spite of the audit, [n].
        """
        told = leaving & self.is_audited & ~self.has_prediction
        stays = told[:, None]
        kept = type(self)(
            np.where(told, exit_stage, self.exit_stages).astype(np.int8),
            np.where(stays, top_label_ids, self.top_label_ids).astype(np.int32),
            np.where(stays, top_scores, self.top_scores),
        )
        return kept, leaving & ~self.is_audited
