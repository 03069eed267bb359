"""Early predictions of audited images, which continue to the last stage for comparison.

If an audited image could exit, its prediction is held, the same as without an audit, and the image
stays in the queue. It leaves the last stage with both predictions.

Plain arrays, without the model or the sampling. Shapes: n images, k best labels, G groups.
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
    """One row for each of n images, audited or not.

    Attributes:
        exit_stages: exit of the prediction, from 1; 0 for an audited image without one yet, -1 for
            an image that is not audited; [n] int8.
        top_label_ids: best first, [n, k] int32; undefined without a prediction.
        top_scores: softmax probabilities, [n, k] float32; undefined without a prediction.
        group_scores: of the model's groups, [n, G] float32; undefined without a prediction.
    """

    exit_stages: NDArray[np.int8]
    top_label_ids: NDArray[np.int32]
    top_scores: NDArray[np.float32]
    group_scores: NDArray[np.float32]

    @classmethod
    def none_yet(cls, is_audited: NDArray[np.bool_], num_labels: int, num_groups: int = 0) -> Self:
        """Before the first stage; `is_audited` is [n], `num_labels` is k, and `num_groups` G."""
        num_images = len(is_audited)
        return cls(
            np.where(is_audited, _NONE_YET, _NOT_AUDITED).astype(np.int8),
            np.zeros((num_images, num_labels), np.int32),
            np.zeros((num_images, num_labels), np.float32),
            np.zeros((num_images, num_groups), np.float32),
        )

    @classmethod
    def join(cls, parts: "Sequence[Self]") -> Self:
        """Concatenates several of these."""
        return cls(
            np.concatenate([part.exit_stages for part in parts]),
            np.concatenate([part.top_label_ids for part in parts]),
            np.concatenate([part.top_scores for part in parts]),
            np.concatenate([part.group_scores for part in parts]),
        )

    def __getitem__(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Some of the images."""
        return type(self)(
            self.exit_stages[rows],
            self.top_label_ids[rows],
            self.top_scores[rows],
            self.group_scores[rows],
        )

    @property
    def is_audited(self) -> NDArray[np.bool_]:
        """Which images are audited, [n]."""
        audited: NDArray[np.bool_] = self.exit_stages != _NOT_AUDITED
        return audited

    @property
    def has_prediction(self) -> NDArray[np.bool_]:
        """Which images have an early prediction, [n]."""
        predicted: NDArray[np.bool_] = self.exit_stages > _NONE_YET
        return predicted

    @property
    def num_bytes(self) -> int:
        """Size in the object store."""
        labels = self.top_label_ids.nbytes + self.top_scores.nbytes
        return self.exit_stages.nbytes + labels + self.group_scores.nbytes

    def hold(
        self,
        exiting: NDArray[np.bool_],
        exit_stage: int,
        top_label_ids: NDArray[np.int64],
        top_scores: NDArray[np.float32],
        group_scores: NDArray[np.float32],
    ) -> tuple[Self, NDArray[np.bool_]]:
        """Holds the predictions of audited images at an exit before the last.

        Args:
            exiting: images confident enough to exit, [n].
            exit_stage: from 1.
            top_label_ids: of all images, [n, k].
            top_scores: of all images, [n, k].
            group_scores: of all images, [n, G].

        Returns:
            The predictions held so far, and the images that exit, [n]: none of them audited.
        """
        is_new = exiting & self.is_audited & ~self.has_prediction
        held = type(self)(
            np.where(is_new, exit_stage, self.exit_stages).astype(np.int8),
            np.where(is_new[:, None], top_label_ids, self.top_label_ids).astype(np.int32),
            np.where(is_new[:, None], top_scores, self.top_scores),
            np.where(is_new[:, None], group_scores, self.group_scores),
        )
        return held, exiting & ~self.is_audited
