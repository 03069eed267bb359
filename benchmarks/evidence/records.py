"""What the exits of a model said about held-out and test pictures, kept in one file.

Shapes: E exits, n pictures. It knows nothing of models or devices; `recording` fills it.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import UsageError

__all__ = ["DataFacts", "Exits", "ModelFacts", "Record", "file_of"]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFacts(_Facts):
    """Some pictures: how many, and a digest of their pixels and labels."""

    name: str
    num_images: int
    digest: str


class ModelFacts(_Facts):
    """A trained model, and how it was trained as far as its folder tells."""

    name: str
    preset: str
    digest: str
    dtype: str
    classes: tuple[str, ...]
    num_parameters: int
    tokens: tuple[int, ...]
    gmacs_per_exit: tuple[float, ...]
    thresholds: tuple[float, ...] | None
    feature_reuse: bool
    relation_reuse: bool
    num_epochs: int | None
    train_seconds: float | None
    validation: DataFacts
    test: DataFacts


@dataclass(frozen=True, slots=True)
class Exits:
    """Figures of n pictures.

    Attributes:
        confidences: largest softmax probability, [E, n].
        margins: largest less second largest, [E, n].
        certainties: 1 less the entropy as a share of the largest possible one, [E, n].
        answers: class ids, [E, n].
        labels: class ids, [n].
        keys: of the pictures, [n].
    """

    confidences: NDArray[np.float32]
    margins: NDArray[np.float32]
    certainties: NDArray[np.float32]
    answers: NDArray[np.int16]
    labels: NDArray[np.int16]
    keys: NDArray[np.str_]

    @classmethod
    def of_scores(
        cls, scores_EnC: NDArray[np.float32], labels_n: NDArray[np.int64], keys: tuple[str, ...]
    ) -> Self:
        """From softmax scores [E, n, C] of every exit."""
        ranked = np.sort(scores_EnC, axis=-1)
        likely = np.maximum(scores_EnC.astype(np.float64), np.finfo(np.float32).tiny)
        entropies = -(likely * np.log(likely)).sum(axis=-1)
        certainties = 1 - entropies / np.log(scores_EnC.shape[-1])
        return cls(
            confidences=ranked[..., -1],
            margins=ranked[..., -1] - ranked[..., -2],
            certainties=certainties.clip(0, 1).astype(np.float32),
            answers=scores_EnC.argmax(axis=-1).astype(np.int16),
            labels=labels_n.astype(np.int16),
            keys=np.array(keys, dtype=np.str_),
        )

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each exit's answer is right, [E, n]."""
        correct: NDArray[np.bool_] = self.answers == self.labels
        return correct

    @property
    def agrees(self) -> NDArray[np.bool_]:
        """Whether each exit's answer is the last exit's, [E, n]."""
        agrees: NDArray[np.bool_] = self.answers == self.answers[-1]
        return agrees

    @property
    def accuracy_per_exit(self) -> tuple[float, ...]:
        """Top-1 as a fraction, if all pictures left at that exit."""
        return tuple(float(value) for value in self.correct.mean(axis=1))


@dataclass(frozen=True, slots=True)
class Record:
    """One model on both sets of pictures."""

    facts: ModelFacts
    validation: Exits
    test: Exits

    def save(self, path: Path) -> None:
        """Writes the file, as a whole or not at all."""
        arrays = {
            f"{part}_{field.name}": getattr(exits, field.name)
            for part, exits in (("validation", self.validation), ("test", self.test))
            for field in fields(Exits)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            np.savez_compressed(file, facts=np.array(self.facts.model_dump_json()), **arrays)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a file that `save` wrote.

        Raises:
            UsageError: there is none, or it holds something else.
        """
        try:
            with np.load(path) as content:
                parts = [
                    Exits(
                        **{field.name: content[f"{part}_{field.name}"] for field in fields(Exits)}
                    )
                    for part in ("validation", "test")
                ]
                facts = ModelFacts.model_validate_json(str(content["facts"]))
        except FileNotFoundError as error:
            raise UsageError(f"records: {path} is not there; run `record` first") from error
        except (OSError, KeyError, ValueError, ValidationError) as error:
            raise UsageError(
                f"records: {path} is damaged or of an older form; delete it"
            ) from error
        return cls(facts, *parts)


def file_of(records: Path, model: str) -> Path:
    """Where the record of a model is kept."""
    return records / f"{model.replace('/', '-')}.npz"
