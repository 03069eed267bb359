"""The answers of a model's exits on held-out images: all that a calibration needs.

Kept in a checkpoint folder as `held_out.safetensors`, they let `dvt tag` find thresholds for any
budget or bound without data: 19 bytes per image of a three-stage cascade.
Shapes: E exits, n images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dvt.atomic_io import atomic_write
from dvt.calibration.points import Thresholds, exits_taken
from dvt.errors import CheckpointError

__all__ = ["HELD_OUT", "RecordedExits", "Risk"]

HELD_OUT = "held_out.safetensors"

Risk = Literal["agreement", "accuracy"]
"""What early exits may lose: agreement with the last exit's answers, or accuracy."""


@dataclass(frozen=True, slots=True)
class RecordedExits:
    """Confidences and answers of n images at E exits, and their origin.

    Attributes:
        confidences: exit signal, [E, n] float32.
        agrees: whether the answer is the last exit's, [E, n].
        correct: whether the answer is right, [E, n]; None without labels.
        in_second_half: which half an image belongs to, [n]; depends on its key alone.
        model_digest: see `dvt.Model.digest`.
        dtype: precision of the forward passes, such as "float32".
        data: name of the images.
        num_unreadable: images that were left out.
        signal: what an answer is and what it is sure of, see `dvt.labels.ClassGroups.signal`.
    """

    confidences: NDArray[np.float32]
    agrees: NDArray[np.bool_]
    correct: NDArray[np.bool_] | None
    in_second_half: NDArray[np.bool_]
    model_digest: str
    dtype: str
    data: str
    num_unreadable: int = 0
    signal: str = "label"

    @property
    def num_images(self) -> int:
        """Images that were recorded."""
        return len(self.in_second_half)

    @property
    def risk(self) -> Risk:
        """The risk to bound where none is named: accuracy with labels, else agreement."""
        return "agreement" if self.correct is None else "accuracy"

    @property
    def accuracy_per_exit(self) -> tuple[float, ...]:
        """Top-1 as a fraction if all images left at that exit.

        Raises:
            CheckpointError: there are no labels.
        """
        return tuple(float(value) for value in self.right("accuracy").mean(axis=1))

    def right(self, of: Risk) -> NDArray[np.bool_]:
        """Whether each answer is right, or agrees with the last exit's, [E, n].

        Raises:
            CheckpointError: `of` is accuracy, and there are no labels.
        """
        if of == "agreement":
            return self.agrees
        if self.correct is None:
            raise CheckpointError(f"of: must be agreement, for {self.data} has no labels")
        return self.correct

    def losses(self, thresholds: Thresholds, of: Risk) -> NDArray[np.int8]:
        """Right answers that an early exit loses: 1, 0, or -1 where it gains one, [n].

        Raises:
            CheckpointError: `of` is accuracy, and there are no labels.
        """
        right_En = self.right(of)
        early = right_En[exits_taken(self.confidences, thresholds), np.arange(self.num_images)]
        losses: NDArray[np.int8] = right_En[-1].astype(np.int8) - early.astype(np.int8)
        return losses

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Parts of one record, at least one, as a whole."""
        first = parts[0]
        correct = [part.correct for part in parts if part.correct is not None]
        return cls(
            np.concatenate([part.confidences for part in parts], axis=1),
            np.concatenate([part.agrees for part in parts], axis=1),
            np.concatenate(correct, axis=1) if correct else None,
            np.concatenate([part.in_second_half for part in parts]),
            first.model_digest,
            first.dtype,
            first.data,
            sum(part.num_unreadable for part in parts),
            first.signal,
        )

    def halves(self) -> tuple[Self, Self]:
        """The images of each half; one may be empty where there are few."""
        first, second = (self._rows(rows) for rows in (~self.in_second_half, self.in_second_half))
        return first, second

    def _rows(self, rows: NDArray[np.bool_]) -> Self:
        return type(self)(
            self.confidences[:, rows],
            self.agrees[:, rows],
            None if self.correct is None else self.correct[:, rows],
            self.in_second_half[rows],
            self.model_digest,
            self.dtype,
            self.data,
            signal=self.signal,
        )

    def save(self, path: Path) -> None:
        """Writes a safetensors file; an existing file is replaced in one step."""
        arrays: dict[str, NDArray[np.generic]] = {
            "confidences": np.ascontiguousarray(self.confidences),
            "agrees": np.ascontiguousarray(self.agrees),
            "in_second_half": np.ascontiguousarray(self.in_second_half),
        }
        if self.correct is not None:
            arrays["correct"] = np.ascontiguousarray(self.correct)
        texts = {
            "model_digest": self.model_digest,
            "dtype": self.dtype,
            "data": self.data,
            "num_unreadable": str(self.num_unreadable),
            "signal": self.signal,
        }
        with atomic_write(path) as partial:
            save_file(arrays, partial, metadata=texts)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a file that `save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged or of another kind.
        """
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        try:
            with safe_open(path, framework="numpy") as file:
                texts = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            loaded = cls(
                arrays["confidences"],
                arrays["agrees"],
                arrays.get("correct"),
                arrays["in_second_half"],
                texts["model_digest"],
                texts["dtype"],
                texts["data"],
                int(texts["num_unreadable"]),
                texts.get("signal", "label"),
            )
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise CheckpointError(f"{path}: truncated or damaged, or no held-out exits") from error
        loaded._check(path)
        return loaded

    def _check(self, path: Path) -> None:
        shape = self.confidences.shape
        fits = (
            len(shape) == 2
            and shape[1] > 0
            and self.confidences.dtype == np.float32
            and bool(np.isfinite(self.confidences).all())
            and self.in_second_half.shape == shape[1:]
            and all(
                array is None or (array.shape == shape and array.dtype == np.bool_)
                for array in (self.agrees, self.correct)
            )
            and self.in_second_half.dtype == np.bool_
        )
        if not fits:
            raise CheckpointError(f"{path}: holds arrays that do not fit together")
