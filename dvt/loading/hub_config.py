"""What the weights of a static model do not determine: preprocessing and class names.

Hugging Face folders keep a `config.json` beside `model.safetensors`: timm's name the architecture
and hold `pretrained_cfg`; those of transformers name the `model_type` and keep preprocessing in
`preprocessor_config.json`. Any other file must be named after its architecture, as in
`vit_base_patch16_224.augreg_in1k.safetensors`. Both programs write many more fields; these are
ignored.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dvt.config import Preprocess
from dvt.errors import CheckpointError
from dvt.presets import VIT_PREPROCESS
from dvt.validation import first_problem

__all__ = ["CONFIG", "WEIGHTS", "ModelDescription", "description_in", "description_of"]

# Files of a checkpoint folder, a hub's or this project's.
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_PREPROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A static model of a hub.

    Attributes:
        architecture: timm's name, or the `model_type` of transformers; starts with "deit" or "vit".
        preprocess: of the images it was trained on.
        labels: class names in order of their ids; None if unknown.
        layer_norm_eps: None for the preset's.
    """

    architecture: str
    preprocess: Preprocess
    labels: tuple[str, ...] | None = None
    layer_norm_eps: float | None = None


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Mean = tuple[_Finite, _Finite, _Finite]
_Std = tuple[_Positive, _Positive, _Positive]


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True)


class _PretrainedCfg(_Fields):
    input_size: tuple[Literal[3], Literal[224], Literal[224]]
    crop_pct: Annotated[float, Field(ge=0.5, le=1)]
    interpolation: Literal["bicubic", "bilinear"]
    mean: _Mean
    std: _Std
    label_names: tuple[str, ...] | None = None


class _TimmConfig(_Fields):
    architecture: Annotated[str, Field(pattern="^(deit|vit)_")]
    pretrained_cfg: _PretrainedCfg
    label_names: tuple[str, ...] | None = None


class _TransformersConfig(_Fields):
    model_type: Literal["vit"]
    image_size: Literal[224] = 224
    layer_norm_eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-12
    id2label: dict[int, str] | None = None


class _TransformersPreprocessor(_Fields):
    image_mean: _Mean = VIT_PREPROCESS.mean
    image_std: _Std = VIT_PREPROCESS.std
    resample: Literal[2, 3] = 2  # Pillow's numbers of bilinear and bicubic


def description_in(folder: Path) -> ModelDescription | None:
    """Reads the `config.json` of a folder; None if it is missing or this project's own.

    Raises:
        CheckpointError: it is a hub's, but of an unsupported model.
    """
    path = folder / CONFIG
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    try:
        if "model_type" in content or "architectures" in content:
            return _of_transformers(content, folder)
        return _of_timm(content) if "architecture" in content else None
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_problem(error)}") from error


def _of_timm(content: dict[str, Any]) -> ModelDescription:
    config = _TimmConfig.model_validate(content)
    fields = config.pretrained_cfg
    preprocess = Preprocess(
        resize=int(fields.input_size[1] / fields.crop_pct),  # as timm.data.create_transform
        interpolation=fields.interpolation,
        mean=fields.mean,
        std=fields.std,
    )
    labels = config.label_names or fields.label_names
    return ModelDescription(config.architecture, preprocess, labels)


def _of_transformers(content: dict[str, Any], folder: Path) -> ModelDescription:
    """Its processor resizes both sides to 224; here the short side is, and the centre cropped."""
    config = _TransformersConfig.model_validate(content)
    try:
        text = (folder / _PREPROCESSOR).read_bytes()
    except OSError:
        text = b"{}"
    fields = _TransformersPreprocessor.model_validate_json(text)
    preprocess = Preprocess(
        resize=config.image_size,
        interpolation="bilinear" if fields.resample == 2 else "bicubic",
        mean=fields.image_mean,
        std=fields.image_std,
    )
    labels = None
    if config.id2label is not None:
        if set(config.id2label) != set(range(len(config.id2label))):
            raise CheckpointError(f"{folder / CONFIG}: id2label must name ids from 0 without gaps")
        labels = tuple(config.id2label[number] for number in range(len(config.id2label)))
    return ModelDescription(config.model_type, preprocess, labels, config.layer_norm_eps)


def description_of(path: Path) -> ModelDescription:
    """The model in a safetensors file, from the `config.json` beside it or from its name.

    Raises:
        CheckpointError: neither names the model.
    """
    beside = description_in(path.parent)
    if beside is not None and path.name == WEIGHTS:  # other files in the folder are other models
        return beside
    if path.name.startswith("deit_"):
        return ModelDescription(path.stem, Preprocess())  # as in DeiT's own code
    if path.name.startswith("vit_"):
        return ModelDescription(path.stem, VIT_PREPROCESS)
    raise CheckpointError(
        f"{path}: preprocessing is unknown; keep the hub's {CONFIG} beside {WEIGHTS}, or begin the "
        "file name with the architecture (deit_… or vit_…)"
    )
