"""Models by name, and the project's own checkpoints.

A checkpoint is a folder: `config.json` (a `CascadeConfig`), `model.safetensors` (weights, 16 or
32 bits, computed in float32 unless told otherwise), and where known `labels.json` (class names in
order of their ids) and `calibration.json` (thresholds and measured figures).
"""

import hashlib
import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Annotated, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from safetensors.torch import save_file

from dvt.cascade import Adopted, Calibration, Cascade
from dvt.config import CascadeConfig, first_problem
from dvt.errors import CheckpointError, ModelError
from dvt.loading.published import check_weights, load_published
from dvt.loading.timm import load_weights, timm_model_in
from dvt.presets import PRESETS, preset

__all__ = [
    "DEFAULT_MODEL",
    "checkpoint_folder",
    "create_model",
    "load_calibration",
    "load_model",
    "model_digest",
    "save_calibration",
    "save_model",
    "shipped_models",
]

T = TypeVar("T")

# Of every command that is not told another.
DEFAULT_MODEL = "cifar10"

CONFIG, WEIGHTS, LABELS, CALIBRATION = (
    "config.json",
    "model.safetensors",
    "labels.json",
    "calibration.json",
)


def shipped_models() -> dict[str, Path]:
    """Names and folders of the checkpoints that come with the package."""
    root = Path(str(files("dvt"))) / "checkpoints"
    if not root.is_dir():
        return {}
    return {folder.name: folder for folder in sorted(root.iterdir()) if (folder / CONFIG).is_file()}


def create_model(
    name: str,
    num_classes: int | None = None,
    feature_reuse: bool | None = None,
    relation_reuse: bool | None = None,
) -> Cascade:
    """An untrained cascade of a preset; None keeps what the preset says.

    Raises:
        ConfigError: unknown preset, or a field out of range.
    """
    changes = {
        "num_classes": num_classes,
        "feature_reuse": feature_reuse,
        "relation_reuse": relation_reuse,
    }
    given = {field: value for field, value in changes.items() if value is not None}
    return Cascade(preset(name).with_changes(**given)).eval()


def load_model(source: str | Path) -> Cascade:
    """A trained model: a shipped name, a folder, or a published file.

    Published are DVT, T2T-ViT and DeiT as `.pth.tar` or `.pth`, and timm's ViT and DeiT as
    safetensors or as the folder of their Hugging Face repository.

    Raises:
        CheckpointError: nothing there, or what is there is no usable checkpoint.
    """
    path = Path(source)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError:  # a name too long for a path
        is_folder = is_file = False
    if is_folder or (is_file and path.name == WEIGHTS):
        folder = path if is_folder else path.parent
        if timm_model_in(folder) is not None:
            return load_published(folder / WEIGHTS)
        return _load_folder(folder)
    if is_file:
        return load_published(path)
    shipped = shipped_models()
    if str(source) in shipped:
        return _load_folder(shipped[str(source)])
    if str(source) in PRESETS:
        problem = f"{str(source)!r} is a preset without weights"
    else:
        problem = f"nothing found for {str(source)!r}"
    raise CheckpointError(
        f"model: {problem}; allowed are {', '.join(shipped)}, a folder with {CONFIG} and "
        f"{WEIGHTS}, or a published .pth.tar, .pth or .safetensors"
    )


def checkpoint_folder(source: str | Path) -> Path | None:
    """The folder of one of the project's own checkpoints, by what `load_model` takes.

    Returns:
        None for published files and whatever else is no such folder.
    """
    path = Path(source)
    try:
        if path.is_dir() or (path.is_file() and path.name == WEIGHTS):
            folder = path if path.is_dir() else path.parent
            return folder if timm_model_in(folder) is None else None
        return None if path.is_file() else shipped_models().get(str(source))
    except OSError:  # a name too long for a path
        return None


def load_calibration(folder: Path) -> Calibration:
    """What a checkpoint folder knows of its model; empty if it has no such file.

    Raises:
        CheckpointError: the file is damaged.
    """
    figures = _read_json(folder / CALIBRATION, TypeAdapter(_CalibrationFile))
    if figures is None:
        return Calibration()
    return Calibration(**figures.model_dump(exclude={"adopted"}), adopted=figures.adopted)


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Replaces what a checkpoint folder knows of its model, as a whole."""
    content = asdict(calibration)
    if calibration.adopted is None:
        del content["adopted"]  # so that it reads as it did before there were any
    _replace_text(folder / CALIBRATION, json.dumps(content, indent=1))


class _CalibrationFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    thresholds: tuple[float, ...] | None = None
    accuracy_per_exit: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    curve: tuple[tuple[float, float], ...] = ()
    threshold_sweep: tuple[tuple[float, ...], ...] = ()
    data: str = ""
    adopted: Adopted | None = None


def _load_folder(folder: Path) -> Cascade:
    config = _read_json(folder / CONFIG, TypeAdapter(CascadeConfig))
    if config is None:
        raise CheckpointError(f"{folder}: has no {CONFIG}; not a checkpoint folder")
    labels = _read_json(folder / LABELS, TypeAdapter(tuple[str, ...]))
    if labels is not None and len(labels) != config.num_classes:
        raise CheckpointError(
            f"{folder / LABELS}: must name {config.num_classes} classes (got {len(labels)})"
        )
    calibration = load_calibration(folder)
    weights_path = folder / WEIGHTS
    weights = load_weights(weights_path)
    with torch.device("meta"):
        skeleton = Cascade(config)
    expected = {key: tuple(value.shape) for key, value in skeleton.state_dict().items()}
    check_weights(weights_path, expected, weights)
    model = Cascade(config, labels=labels, calibration=calibration)
    model.load_state_dict({key: value.float() for key, value in weights.items()}, strict=True)
    if calibration.thresholds is not None:
        try:
            model.thresholds()
        except ModelError as error:
            raise CheckpointError(f"{folder / CALIBRATION}: {error}") from error
    return model.eval()


def _read_json(path: Path, adapter: TypeAdapter[T]) -> T | None:
    try:
        return adapter.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_problem(error)}") from error


def save_model(model: Cascade, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes a checkpoint folder, the configuration last: its existence means completion.

    Args:
        model: what to write, with its labels and calibration.
        folder: made if missing; files in it are replaced one by one, each as a whole.
        dtype: of the stored weights; float16 halves the file at about 3 decimal digits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.to(dtype).contiguous() for key, value in model.state_dict().items()}
    partial = folder / f".{WEIGHTS}.partial"
    save_file(weights, partial)
    partial.chmod(0o644)  # the library makes it private; a checkpoint is read by other accounts too
    partial.replace(folder / WEIGHTS)
    if model.labels is None:
        (folder / LABELS).unlink(missing_ok=True)
    else:
        _replace_text(folder / LABELS, json.dumps(model.labels, indent=1))
    save_calibration(folder, model.calibration)
    _replace_text(folder / CONFIG, model.config.model_dump_json(indent=1))


def _replace_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def model_digest(model: Cascade) -> str:
    """A name for exactly these weights and this configuration, 16 hex digits."""
    digest = hashlib.sha256(model.config.model_dump_json().encode())
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
