"""timm's ViTs and DeiTs: architecture and preprocessing of a safetensors file.

The weights determine everything but the preprocessing, which differs between timm models of equal
shapes. timm's Hugging Face repositories keep a `config.json` beside `model.safetensors`; any other
file must be named after its architecture, as in `vit_base_patch16_224.augreg_in1k.safetensors`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dvt.config import Preprocess
from dvt.errors import CheckpointError
from dvt.presets import VIT_PREPROCESS
from dvt.validation import first_problem

__all__ = ["CONFIG", "WEIGHTS", "TimmModel", "timm_model_in", "timm_model_of"]

# Files of a checkpoint folder, timm's or this project's.
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True, slots=True)
class TimmModel:
    """What the weights do not determine.

    Attributes:
        architecture: timm's name; starts with "deit" or "vit".
        preprocess: of the images it was trained on.
    """

    architecture: str
    preprocess: Preprocess


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


# timm's files have many more fields, which are ignored.
class _PretrainedFields(BaseModel):
    model_config = ConfigDict(frozen=True)
    input_size: tuple[Literal[3], Literal[224], Literal[224]]
    crop_pct: Annotated[float, Field(ge=0.5, le=1)]
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[_Finite, _Finite, _Finite]
    std: tuple[_Positive, _Positive, _Positive]


class _ConfigFile(BaseModel):
    model_config = ConfigDict(frozen=True)
    architecture: Annotated[str, Field(pattern="^(deit|vit)_")]
    pretrained_cfg: _PretrainedFields


def timm_model_in(folder: Path) -> TimmModel | None:
    """Reads the `config.json` of a folder; None if it is missing or not timm's.

    Raises:
        CheckpointError: it is timm's, but of an unsupported model.
    """
    path = folder / CONFIG
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if b'"architecture"' not in content:
        return None
    try:
        config = _ConfigFile.model_validate_json(content)
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_problem(error)}") from error
    fields = config.pretrained_cfg
    preprocess = Preprocess(
        resize=int(fields.input_size[1] / fields.crop_pct),  # as timm.data.create_transform
        interpolation=fields.interpolation,
        mean=fields.mean,
        std=fields.std,
    )
    return TimmModel(config.architecture, preprocess)


def timm_model_of(path: Path) -> TimmModel:
    """The model in a safetensors file, from the `config.json` beside it or from its name.

    Raises:
        CheckpointError: neither names the model.
    """
    beside = timm_model_in(path.parent)
    if beside is not None and path.name == WEIGHTS:  # other files in the folder are other models
        return beside
    if path.name.startswith("deit_"):
        return TimmModel(path.stem, Preprocess())  # as in DeiT's own code
    if path.name.startswith("vit_"):
        return TimmModel(path.stem, VIT_PREPROCESS)
    raise CheckpointError(
        f"{path}: preprocessing is unknown; keep timm's {CONFIG} beside {WEIGHTS}, or begin the "
        "file name with the architecture (deit_… or vit_…)"
    )
