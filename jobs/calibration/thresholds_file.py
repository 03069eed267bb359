"""The file that `dvt calibrate` writes and `dvt tag --thresholds` takes.

It holds the thresholds, the target they were fitted for, their figures, and the model and images
that the figures are of. A file written by hand may be a JSON list of thresholds, or an object with
such a list under `thresholds`; such thresholds are not checked.
"""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dvt.atomic_io import atomic_write
from dvt.calibration import Certificate, Risk
from dvt.validation import first_problem
from pipeline.errors import UsageError

__all__ = ["Asked", "CalibratedModel", "Figures", "ThresholdsFile", "read_thresholds"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Asked(_Part):
    """The target: a mean cost, a bounded loss, or shares of the exits."""

    budget_gmacs: float | None = None
    max_drop: float | None = None
    delta: float | None = None
    exit_mix: tuple[float, ...] | None = None


class CalibratedModel(_Part):
    """The model that the thresholds are for."""

    name: str
    digest: str
    gmacs_per_exit: tuple[float, ...]


class Figures(_Part):
    """Results of thresholds on some images."""

    num_images: int
    gmacs: Annotated[float, Field(description="mean cost of an image")]
    exits: tuple[int, ...]
    agreement: Annotated[float, Field(description="share of the answers that are the last exit's")]
    accuracy: Annotated[float | None, Field(description="null without labels")]
    accuracy_full_depth: float | None


class ThresholdsFile(_Part):
    """The content of the file.

    `fitted` are figures on the images that the thresholds were fitted to. `held_out` are figures to
    expect on other images: of each half under thresholds fitted to the other, or with a
    certificate, of the second half.
    """

    thresholds: tuple[float, ...]
    asked: Asked
    of: Risk
    signal: Annotated[str, Field(description="what the answers are sure of")] = "label"
    model: CalibratedModel
    data: str
    dtype: str
    num_images: int
    num_unreadable: int
    fitted: Figures
    held_out: Figures | None
    certificate: Certificate | None

    def write(self, path: Path) -> None:
        """Writes the file; an existing file is replaced in one step.

        Raises:
            UsageError: it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as partial:
                partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"out: cannot write {path}: {error.strerror}") from error


def read_thresholds(path: Path) -> tuple[float, ...] | ThresholdsFile:
    """Reads thresholds: a bare list, or the content that `dvt calibrate` wrote.

    Raises:
        UsageError: the file cannot be read, is of another kind, or was edited.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "asked" in content:
            return _calibrated(path, content)
        if isinstance(content, dict):
            content = content.get("thresholds")
        return TypeAdapter(tuple[float, ...]).validate_python(content)
    except OSError as error:
        raise UsageError(f"thresholds: cannot read {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise UsageError(
            f"thresholds: {path} must hold a JSON list of numbers, or an object with one under "
            "'thresholds'"
        ) from error


def _calibrated(path: Path, content: dict[str, Any]) -> ThresholdsFile:
    try:
        file = ThresholdsFile.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise UsageError(
            f"thresholds: {path} was not written by this version of dvt calibrate: "
            f"{first_problem(error)}"
        ) from error
    if file.certificate is not None and file.certificate.thresholds != file.thresholds:
        raise UsageError(
            f"thresholds: {path} was edited: its certificate is for "
            f"{list(file.certificate.thresholds)} (got {list(file.thresholds)})"
        )
    return file
