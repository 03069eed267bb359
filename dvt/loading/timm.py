"""ViTs and DeiTs as timm publishes them: a safetensors file, and what its `config.json` says.

The weights tell everything but the preprocessing, and timm has models of equal shapes with
different ones. Its Hugging Face repositories keep a `config.json` beside `model.safetensors`; a
file that stands alone has to be named after its architecture, as in
`vit_base_patch16_224.augreg_in1k.safetensors`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dvt.config import Preprocess, first_problem
from dvt.errors import CheckpointError
from dvt.presets import VIT_PREPROCESS

__all__ = ["TimmModel", "load_weights", "timm_model_in", "timm_model_of"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True, slots=True)
class TimmModel:
    """What the weights do not tell.

    Attributes:
        architecture: timm's name of it; starts with "deit" or "vit".
        preprocess: of the pictures it was trained on.
    """

    architecture: str
    preprocess: Preprocess


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


# timm's files have many more fields; those that stand here are all that matter.
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
    """What the `config.json` in a folder says; None if there is none, or it is not timm's.

    Raises:
        CheckpointError: it is timm's, but of no model of this package.
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
    """What is known of the model in a safetensors file, from `config.json` beside it or its name.

    Raises:
        CheckpointError: neither says which model it is.
    """
    beside = timm_model_in(path.parent)
    if beside is not None and path.name == WEIGHTS:
        return beside  # the configuration of a folder is that of its one model
    if path.name.startswith("deit_"):
        return TimmModel(path.stem, Preprocess())  # of DeiT's own code
    if path.name.startswith("vit_"):
        return TimmModel(path.stem, VIT_PREPROCESS)
    raise CheckpointError(
        f"{path}: nothing says how its pictures are normalised; keep timm's {CONFIG} beside it, or "
        "begin its name with the architecture (deit_… or vit_…)"
    )


def load_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        CheckpointError: missing, unreadable, truncated or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent}: has no {path.name}; not a checkpoint folder"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    except (SafetensorError, KeyError) as error:
        raise CheckpointError(f"{path}: truncated or damaged") from error
