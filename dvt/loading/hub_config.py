"""What a file of weights or a graph does not determine: preprocessing and class names.

Hugging Face folders keep a `config.json` beside the network: timm's name the architecture and hold
`pretrained_cfg`; those of transformers name the `model_type` and keep preprocessing in
`preprocessor_config.json`. Both programs write many more fields; these are ignored. A `config.json`
of `kind` "network" is a `NetworkConfig`, for a network from elsewhere. A file of weights in a
folder without one must be named after its architecture, as in
`vit_base_patch16_224.augreg_in1k.safetensors`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dvt.config import Preprocess
from dvt.errors import CheckpointError
from dvt.presets import VIT_PREPROCESS
from dvt.validation import FrozenModel, first_problem

__all__ = [
    "CONFIG",
    "PREPROCESSOR",
    "WEIGHTS",
    "ModelDescription",
    "NetworkConfig",
    "describe",
    "description_of",
    "only_vit",
]

# Files of a checkpoint folder, a hub's or this project's.
CONFIG, WEIGHTS = "config.json", "model.safetensors"
PREPROCESSOR = "preprocessor_config.json"
_VIT_SIZE = 224
_OTHER_NETWORKS = (
    "export other networks to ONNX or with torch.export, see docs/bring-your-own-model.md"
)


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A network of a hub, or one described in this project's own words.

    Attributes:
        architecture: timm's name, the `model_type` of transformers, or any name.
        image_size: side of the input, pixels.
        preprocess: of the images it was trained on.
        labels: class names in order of their ids; None if unknown.
        layer_norm_eps: of a ViT; None for the preset's.
        output: name of the output with the logits; None for the only one.
        is_vit: whether `load_model` can build the network itself, from weights.
    """

    architecture: str
    image_size: int
    preprocess: Preprocess
    labels: tuple[str, ...] | None = None
    layer_norm_eps: float | None = None
    output: str | None = None
    is_vit: bool = False


_Side = Annotated[int, Field(ge=8, le=2048)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Mean = tuple[_Finite, _Finite, _Finite]
_Std = tuple[_Positive, _Positive, _Positive]
_CropShare = Annotated[float, Field(ge=0.5, le=1)]


class NetworkConfig(FrozenModel):
    """`config.json` of a network that is an ONNX file or a `torch.export` program."""

    kind: Literal["network"] = "network"
    name: str
    image_size: Annotated[_Side, Field(description="side of the input, pixels")]
    preprocess: Preprocess
    labels: Annotated[
        tuple[str, ...] | None, Field(description="class names in order of their ids")
    ] = None
    output: Annotated[
        str | None, Field(description="the output with the logits, if there are several")
    ] = None


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True)


def _square(sides: tuple[int, ...]) -> tuple[int, ...]:
    if sides[-2] != sides[-1]:
        raise ValueError("height and width must be the same")
    return sides


class _PretrainedCfg(_Fields):
    input_size: Annotated[tuple[Literal[3], _Side, _Side], AfterValidator(_square)]
    crop_pct: _CropShare
    # A picture squashed to a square in training is cropped to one here.
    crop_mode: Literal["center", "squash"] = "center"
    interpolation: Literal["bicubic", "bilinear"]
    mean: _Mean
    std: _Std
    label_names: tuple[str, ...] | None = None


class _TimmConfig(_Fields):
    architecture: str
    pretrained_cfg: _PretrainedCfg
    label_names: tuple[str, ...] | None = None


def _as_sides(value: Any) -> Any:
    """A size as transformers' files have it, as height and width or the shortest edge twice."""
    if isinstance(value, int):
        return (value, value)
    if isinstance(value, dict):
        edge = value.get("shortest_edge")
        return (value.get("height", edge), value.get("width", edge))
    return value


_Sides = Annotated[tuple[_Side, _Side], BeforeValidator(_as_sides), AfterValidator(_square)]


class _TransformersConfig(_Fields):
    model_type: str
    image_size: _Sides | None = None
    layer_norm_eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-12
    id2label: dict[int, str] | None = None


class _TransformersPreprocessor(_Fields):
    image_mean: _Mean = VIT_PREPROCESS.mean
    image_std: _Std = VIT_PREPROCESS.std
    resample: Literal[2, 3] = 2  # Pillow's numbers of bilinear and bicubic
    size: _Sides | None = None
    crop_size: _Sides | None = None
    crop_pct: _CropShare | None = None
    do_center_crop: bool | None = None
    do_normalize: bool = True
    do_rescale: bool = True
    rescale_factor: _Positive = 1 / 255
    rescale_offset: Literal[False] = False


def describe(folder: Path) -> ModelDescription | None:
    """Reads the `config.json` of a folder; None if it is missing or of another kind.

    Raises:
        CheckpointError: a field is missing or its value is not supported.
    """
    path = folder / CONFIG
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    try:
        if content.get("kind") == "network":
            own = NetworkConfig.model_validate(content)
            return ModelDescription(
                own.name, own.image_size, own.preprocess, own.labels, output=own.output
            )
        if "model_type" in content or "architectures" in content:
            return _of_transformers(content, folder)
        return _of_timm(content) if "architecture" in content else None
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_problem(error)}") from error


def only_vit(description: ModelDescription, path: Path) -> ModelDescription:
    """The description of a network that is built here.

    Args:
        description: found in `path`.
        path: of the `config.json`.

    Raises:
        CheckpointError: it describes another network.
    """
    if not description.is_vit:
        raise CheckpointError(
            f"{path}: architecture: must be vit… or deit… for a file of weights "
            f"(got {description.architecture!r}); {_OTHER_NETWORKS}"
        )
    if description.image_size != _VIT_SIZE:
        raise CheckpointError(
            f"{path}: image size: must be {_VIT_SIZE} for a file of weights "
            f"(got {description.image_size}); {_OTHER_NETWORKS}"
        )
    return description


def _of_timm(content: dict[str, Any]) -> ModelDescription:
    config = _TimmConfig.model_validate(content)
    fields = config.pretrained_cfg
    size = fields.input_size[-1]
    preprocess = Preprocess(
        resize=int(size / fields.crop_pct),  # as timm.data.create_transform
        interpolation=fields.interpolation,
        mean=fields.mean,
        std=fields.std,
    )
    labels = config.label_names or fields.label_names
    is_vit = config.architecture.startswith(("deit_", "vit_"))
    return ModelDescription(config.architecture, size, preprocess, labels, is_vit=is_vit)


def _of_transformers(content: dict[str, Any], folder: Path) -> ModelDescription:
    """Where its processor resizes both sides, here the short side is, and the centre cropped."""
    config = _TransformersConfig.model_validate(content)
    try:
        text = (folder / PREPROCESSOR).read_bytes()
    except OSError:
        text = b"{}"
    fields = _TransformersPreprocessor.model_validate_json(text)
    crops = fields.do_center_crop if fields.do_center_crop is not None else bool(fields.crop_size)
    sides = (fields.crop_size if crops else None) or fields.size or config.image_size
    size = sides[0] if sides else _VIT_SIZE
    resize = fields.size[0] if crops and fields.size else size
    if fields.crop_pct is not None:  # ConvNeXt's
        resize = int(size / fields.crop_pct)
    # Its pixels are multiplied by the factor, those here by 1 / 255.
    scale = round(255 * fields.rescale_factor, 6) if fields.do_rescale else 255.0
    mean, std = fields.image_mean, fields.image_std
    if not fields.do_normalize:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    preprocess = Preprocess(
        resize=max(size, resize),
        interpolation="bilinear" if fields.resample == 2 else "bicubic",
        mean=_scaled(mean, scale),
        std=_scaled(std, scale),
    )
    return ModelDescription(
        config.model_type,
        size,
        preprocess,
        _labels(config, folder),
        config.layer_norm_eps,
        is_vit=config.model_type == "vit",
    )


def _scaled(values: tuple[float, float, float], scale: float) -> tuple[float, float, float]:
    first, second, third = (value / scale for value in values)
    return first, second, third


def _labels(config: _TransformersConfig, folder: Path) -> tuple[str, ...] | None:
    names = config.id2label
    if names is None:
        return None
    if set(names) != set(range(len(names))):
        raise CheckpointError(f"{folder / CONFIG}: id2label must name ids from 0 without gaps")
    return tuple(names[number] for number in range(len(names)))


def description_of(path: Path) -> ModelDescription:
    """The ViT in a safetensors file, from the `config.json` beside it or from its name.

    Raises:
        CheckpointError: neither names the model, or it is another one.
    """
    beside = describe(path.parent)
    if beside is not None and path.name == WEIGHTS:  # other files in the folder are other models
        return only_vit(beside, path.parent / CONFIG)
    if path.name.startswith("deit_"):  # preprocessing as in DeiT's own code
        return ModelDescription(path.stem, _VIT_SIZE, Preprocess(), is_vit=True)
    if path.name.startswith("vit_"):
        return ModelDescription(path.stem, _VIT_SIZE, VIT_PREPROCESS, is_vit=True)
    raise CheckpointError(
        f"{path}: preprocessing is unknown; keep the hub's {CONFIG} beside {WEIGHTS}, or begin the "
        "file name with the architecture (deit_… or vit_…)"
    )
