"""What the exits of a model said about held-out images: all that any calibration needs.

Kept in a checkpoint folder as `held_out.safetensors`, it lets `dvt tag` find thresholds for any
budget or bound at once, without data: 18 bytes an image of a three-stage cascade.
Shapes: E exits, n images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dvt.calibration.learn_then_test import Risk
from dvt.errors import CheckpointError

__all__ = ["HELD_OUT", "HeldOut"]

HELD_OUT = "held_out.safetensors"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Figures of n images, and where they come from.

    Attributes:
        confidences: largest softmax probability, [E, n] float32.
        agrees: whether the answer is that of the last exit, [E, n].
        correct: whether the answer is right, [E, n]; None without labels.
        in_second_half: which half an image belongs to, [n]; from its key alone.
        model_digest: see `dvt.loading.checkpoint.model_digest`.
        dtype: precision that it was recorded in, such as "float32".
        data: name of the images.
        num_unreadable: images that were left out.
    """

    confidences: NDArray[np.float32]
    agrees: NDArray[np.bool_]
    correct: NDArray[np.bool_] | None
    in_second_half: NDArray[np.bool_]
    model_digest: str
    dtype: str
    data: str
    num_unreadable: int = 0

    @property
    def num_images(self) -> int:
        """Images that were judged."""
        return len(self.in_second_half)

    @property
    def risk(self) -> Risk:
        """The risk that these can tell: loss of accuracy with labels, else of agreement."""
        return "agreement" if self.correct is None else "accuracy"

    def right(self, of: Risk) -> NDArray[np.bool_]:
        """What an exit is to be: right, or of one mind with the last.

        Raises:
            CheckpointError: accuracy is asked for, and there are no labels.
        """
        if of == "agreement":
            return self.agrees
        if self.correct is None:
            raise CheckpointError(f"of: must be agreement, for {self.data} has no labels")
        return self.correct

    def halves(self) -> tuple[Self, Self]:
        """The images of either half; one may be empty where there are few."""
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
        )

    def save(self, path: Path) -> None:
        """Writes the file, as a whole or not at all."""
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
        }
        partial = path.with_name(f".{path.name}.partial")
        save_file(arrays, partial, metadata=texts)
        partial.chmod(0o644)  # the library makes it private
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a file that `save` wrote.

        Raises:
            CheckpointError: there is none, or it holds something else.
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
