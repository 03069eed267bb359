"""Models by name, and checkpoint folders.

A checkpoint folder holds `config.json`, and optionally `labels.json` (class names in order of their
ids), `groups.json` (groups of classes, `dvt.labels.load_groups`) and `calibration.json` (a
`Calibration`). With a `CascadeConfig` it is a DVT and holds `model.safetensors` (weights of 16 or
32 bits, loaded as float32); with a `MembersConfig` (`kind` is "members") it is a cascade of other
models, which the folder holds.
"""

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from safetensors.torch import save_file

from dvt.atomic_io import atomic_write
from dvt.cascade import Cascade
from dvt.config import CascadeConfig
from dvt.embedding import PROJECTION, Projection
from dvt.errors import CheckpointError, ModelError
from dvt.labels import GROUPS, load_groups
from dvt.loading.hub_config import CONFIG, WEIGHTS, describe, only_vit
from dvt.loading.members import load_members
from dvt.loading.networks import NETWORK_SUFFIXES, load_network, network_file
from dvt.loading.published import load_published
from dvt.loading.sources import find_model, is_on_hub, shipped_models
from dvt.loading.weights import model_of_weights, read_safetensors
from dvt.members.cascade import MembersConfig
from dvt.members.lite_model import LiteConfig, LiteModel
from dvt.model import Calibration, Model
from dvt.presets import PRESETS, preset
from dvt.validation import first_problem

__all__ = [
    "DEFAULT_MODEL",
    "checkpoint_folder",
    "create_model",
    "load_calibration",
    "load_cascade",
    "load_model",
    "save_calibration",
    "save_model",
]

T = TypeVar("T")

# Of every command without --model.
DEFAULT_MODEL = "photos"

LABELS, CALIBRATION = "labels.json", "calibration.json"


def create_model(name: str, **changes: Any) -> Cascade:
    """An untrained model of a preset.

    Args:
        name: of the preset.
        changes: fields of `CascadeConfig` to replace, such as `num_classes`.

    Raises:
        ConfigError: unknown preset or field, or a value out of range.
    """
    return Cascade(preset(name).with_changes(**changes)).eval()


def load_cascade(source: str | Path) -> Cascade:
    """Loads a DVT or a static ViT, which can be trained; takes and raises as `load_model`."""
    model = load_model(source)
    if not isinstance(model, Cascade):
        raise CheckpointError(f"model: {str(source)!r} is neither a DVT nor a static ViT")
    return model


def load_model(source: str | Path) -> Model:
    """Loads a trained model.

    Args:
        source: a shipped name, a checkpoint folder, or a published file: DVT, T2T-ViT and DeiT as
            `.pth.tar`, `.pth` or `.ckpt`, timm's and transformers' ViTs as safetensors or as the
            folder of their Hugging Face repository, any network as an ONNX file or `torch.export`
            program (`.onnx`, `.pt2`) or as the folder of one; a folder as `local-dir:PATH`, or
            from the Hugging Face hub as `hf-hub:org/name[@revision]`.

    Raises:
        CheckpointError: nothing is there, or it is not a usable checkpoint.
    """
    path = find_model(source)
    if path is None:
        problem = "is a preset without weights" if str(source) in PRESETS else "not found"
        raise CheckpointError(
            f"model: {str(source)!r} {problem}; allowed are {', '.join(shipped_models())}, a "
            f"folder with {CONFIG} and {WEIGHTS}, a published .pth.tar, .pth or .safetensors, "
            "an .onnx or .pt2 file, or hf-hub:org/name"
        )
    model = _load(path)
    folder = path.parent if path.suffix in NETWORK_SUFFIXES else path
    model.own_groups = load_groups(folder / GROUPS, model.spec.num_classes, model.labels)
    return model


def _load(path: Path) -> Model:
    if path.is_file():
        return load_network(path) if path.suffix in NETWORK_SUFFIXES else load_published(path)
    description = describe(path)
    if description is None and (path / CONFIG).exists():
        return _load_folder(path)
    if description is not None and description.is_vit and (path / WEIGHTS).is_file():
        return load_published(path / WEIGHTS)
    network = network_file(path)
    if network is not None:
        return load_network(network)
    if description is None:
        return _load_folder(path)
    only_vit(description, path / CONFIG)
    return load_published(path / WEIGHTS)


def checkpoint_folder(source: str | Path) -> Path | None:
    """The checkpoint folder of a `load_model` source; None for the hub's, files and anything else.

    Raises:
        CheckpointError: it is a hub's folder with a `config.json` that cannot be used.
    """
    path = None if is_on_hub(source) else find_model(source)
    if path is None or path.is_file() or describe(path) is not None:
        return None
    return path


def _load_folder(folder: Path) -> Model:
    kind = _read_json(folder / CONFIG, TypeAdapter(_Kind))
    if kind is None:
        raise CheckpointError(f"{folder}: has no {CONFIG}; not a checkpoint folder")
    labels = _read_json(folder / LABELS, TypeAdapter(tuple[str, ...]))
    calibration = load_calibration(folder)
    if kind.kind == "members":
        members = _required_json(folder / CONFIG, TypeAdapter(MembersConfig))
        model: Model = load_members(folder, members, labels, calibration, load_model)
    elif kind.kind == "efficientnet_lite":
        model = LiteModel(_required_json(folder / CONFIG, TypeAdapter(LiteConfig)), folder)
    else:
        model = _load_dvt(folder, labels, calibration)
    if (folder / PROJECTION).exists():
        width = model.spec.stages[0].embedding_width
        model.projection = Projection.load(folder / PROJECTION, width)
    if calibration.thresholds is not None:
        try:
            model.thresholds()
        except ModelError as error:
            raise CheckpointError(f"{folder / CALIBRATION}: {error}") from error
    return model


def _load_dvt(folder: Path, labels: tuple[str, ...] | None, calibration: Calibration) -> Cascade:
    config = _required_json(folder / CONFIG, TypeAdapter(CascadeConfig))
    if labels is not None and len(labels) != config.num_classes:
        raise CheckpointError(
            f"{folder / LABELS}: must name {config.num_classes} classes (got {len(labels)})"
        )
    path = folder / WEIGHTS
    return model_of_weights(config, read_safetensors(path), path, labels, calibration)


def load_calibration(folder: Path) -> Calibration:
    """The calibration in a checkpoint folder; empty if the file is missing.

    Raises:
        CheckpointError: the file is damaged.
    """
    return _read_json(folder / CALIBRATION, TypeAdapter(Calibration)) or Calibration()


class _Kind(BaseModel):
    """The field of `config.json` that tells the kinds of models apart; a DVT's has none."""

    kind: Literal["members", "efficientnet_lite"] | None = None


def _required_json(path: Path, adapter: TypeAdapter[T]) -> T:
    content = _read_json(path, adapter)
    if content is None:
        raise CheckpointError(f"{path}: not found")
    return content


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
    """Writes a checkpoint folder; `config.json` comes last, so its existence means completion.

    Args:
        model: written with its labels, groups and calibration.
        folder: created if missing; each file is replaced atomically.
        dtype: of the stored weights; float16 halves the file and keeps about 3 decimal digits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.to(dtype).contiguous() for key, value in model.state_dict().items()}
    with atomic_write(folder / WEIGHTS) as partial:
        save_file(weights, partial)
    if model.labels is None:
        (folder / LABELS).unlink(missing_ok=True)
    else:
        _write_json(folder / LABELS, json.dumps(model.labels, indent=1))
    if model.own_groups is None:
        (folder / GROUPS).unlink(missing_ok=True)
    else:
        _write_json(folder / GROUPS, model.own_groups.as_json(model.labels))
    save_calibration(folder, model.calibration)
    _write_json(folder / CONFIG, model.config.model_dump_json(indent=1))


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Replaces the calibration in a checkpoint folder."""
    _write_json(folder / CALIBRATION, calibration.model_dump_json(indent=1))


def _write_json(path: Path, text: str) -> None:
    with atomic_write(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
