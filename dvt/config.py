"""Configuration of a cascade: frozen models, validated field by field and across fields.

A `CascadeConfig` determines every tensor shape of the model and its cost in MACs. `config.json`
in a checkpoint folder holds one. It contains no weights, device or thresholds.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from dvt.errors import ConfigError
from dvt.validation import FrozenModel, first_problem

__all__ = ["T2T_LATER_SPLIT", "CascadeConfig", "Preprocess", "StemConv", "TokenGrid", "num_windows"]

# Kernel, stride and padding of the second and third soft split (T2T-ViT, section 3.1).
T2T_LATER_SPLIT = (3, 2, 1)


def num_windows(side: int, kernel: int, stride: int, padding: int) -> int:
    """Window positions along one side; 0 if the window does not fit."""
    return max(0, (side + 2 * padding - kernel) // stride + 1)


class TokenGrid(FrozenModel):
    """The window that turns an image into `size` x `size` tokens.

    It is the convolution of a `patch` tokenizer, the first of three soft splits of a `t2t`
    tokenizer, or the convolution after the stem of a `conv` tokenizer.
    """

    size: Annotated[int, Field(ge=1, description="tokens per side")]
    kernel: Annotated[int, Field(ge=1, description="window side, pixels")]
    stride: Annotated[int, Field(ge=1, description="step between windows, pixels")]
    padding: Annotated[int, Field(ge=0, description="zeros on each side, pixels")]


class StemConv(FrozenModel):
    """One convolution of a `conv` tokenizer's stem, followed by GELU."""

    channels: Annotated[int, Field(ge=1, description="output channels")]
    kernel: Annotated[int, Field(ge=1, description="window side")] = 3
    stride: Annotated[int, Field(ge=1, description="step between windows")] = 1
    residual: Annotated[bool, Field(description="add the input to the output")] = False

    @property
    def padding(self) -> int:
        """Zeros on each side."""
        return (self.kernel - 1) // 2


class Preprocess(FrozenModel):
    """From an image to the model's input: resize the short side, centre crop, normalise."""

    resize: Annotated[int, Field(ge=1, description="short side after resizing, pixels")] = 256
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class CascadeConfig(FrozenModel):
    """A cascade of `len(grids)` Transformers of the same width and depth, coarsest grid first."""

    name: str
    tokenizer: Literal["patch", "t2t", "conv"]
    image_size: Annotated[int, Field(ge=8, description="side of the input, pixels")] = 224
    grids: Annotated[tuple[TokenGrid, ...], Field(min_length=1)]
    width: Annotated[int, Field(ge=1, description="D, channels of a token")]
    depth: Annotated[int, Field(ge=1, description="L, blocks per stage")]
    num_heads: Annotated[int, Field(ge=1, description="H, attention heads per block")]
    mlp_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    qkv_bias: bool = True
    layer_norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    position_embedding: Literal["learned", "sinusoid"] = "learned"
    num_classes: Annotated[int, Field(ge=2)] = 1000
    feature_reuse: bool = True
    relation_reuse: bool = True
    feature_reuse_hidden: Annotated[int, Field(ge=1)] = 128
    feature_reuse_width: Annotated[int, Field(ge=1)] = 48
    relation_reuse_ratio: Annotated[int, Field(ge=1)] = 3
    token_width: Annotated[int, Field(ge=1, description="channels inside the T2T tokenizer")] = 64
    random_features: Annotated[int, Field(ge=1, description="M of the token performer")] = 32
    stems: Annotated[
        tuple[tuple[StemConv, ...], ...], Field(description="of the `conv` tokenizer, one a stage")
    ] = ()
    preprocess: Preprocess = Preprocess()

    @model_serializer(mode="wrap")
    def _without_empty_stems(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omits empty `stems`: the digests of shipped models cover this text."""
        fields: dict[str, Any] = serialise(self)
        if not self.stems:
            fields.pop("stems", None)
        return fields

    def with_changes(self, **changes: Any) -> Self:
        """A copy with other values of some fields, validated.

        Raises:
            ConfigError: a value is out of range or contradicts another field.
        """
        try:
            return self.model_validate(self.model_dump() | changes)
        except ValidationError as error:
            raise ConfigError(first_problem(error)) from error

    @property
    def num_stages(self) -> int:
        """Transformers in the cascade."""
        return len(self.grids)

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.num_heads

    @property
    def mlp_hidden(self) -> int:
        """Hidden channels of a block's MLP."""
        return int(self.width * self.mlp_ratio)

    def num_tokens(self, stage: int) -> int:
        """N of a stage (from 0): its grid and the class token."""
        return self.grids[stage].size ** 2 + 1

    def reuses_features(self, stage: int) -> bool:
        """Whether this stage (from 0) reads features of the previous one."""
        return self.feature_reuse and stage > 0

    def reuses_relations(self, stage: int) -> bool:
        """Whether this stage (from 0) reads attention logits of the previous one."""
        return self.relation_reuse and stage > 0

    def split_sides(self, stage: int) -> list[int]:
        """Sides of the token maps inside the tokenizer, after each window operation."""
        grid = self.grids[stage]
        windows = [(grid.kernel, grid.stride, grid.padding)]
        if self.tokenizer == "t2t":
            windows += [T2T_LATER_SPLIT] * 2
        elif self.tokenizer == "conv":
            stem = [(conv.kernel, conv.stride, conv.padding) for conv in self.stems[stage]]
            windows = stem + windows
        sides = [self.image_size]
        for window in windows:
            sides.append(num_windows(sides[-1], *window))
        return sides[1:]

    @model_validator(mode="after")
    def _check_across_fields(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(
                f"width: must be a multiple of num_heads={self.num_heads} (got {self.width})"
            )
        if self.mlp_hidden < 1:
            raise ValueError(
                f"mlp_ratio: must give at least one of width={self.width} channels "
                f"(got {self.mlp_ratio})"
            )
        if self.position_embedding == "sinusoid" and self.width % 2:
            raise ValueError(
                f"width: must be even for sinusoid position embeddings (got {self.width})"
            )
        if self.preprocess.resize < self.image_size:
            raise ValueError(
                f"preprocess.resize: must be at least image_size={self.image_size} "
                f"(got {self.preprocess.resize})"
            )
        self._check_stems()
        for stage, grid in enumerate(self.grids):
            side = self.split_sides(stage)[-1]
            if side != grid.size:
                raise ValueError(
                    f"grids.{stage}: kernel {grid.kernel}, stride {grid.stride}, padding "
                    f"{grid.padding} give {side}x{side} tokens from {self.image_size} px"
                    f"{' after the stem' if self.stems else ''}, not size={grid.size}"
                )
        return self

    def _check_stems(self) -> None:
        required = self.num_stages if self.tokenizer == "conv" else 0
        if len(self.stems) != required:
            raise ValueError(
                f"stems: must be {required} for {self.num_stages} stages with the "
                f"{self.tokenizer} tokenizer (got {len(self.stems)})"
            )
        for stage, stem in enumerate(self.stems):
            channels = 3
            for number, conv in enumerate(stem):
                keeps_shape = conv.stride == 1 and conv.kernel % 2 and conv.channels == channels
                if conv.residual and not keeps_shape:
                    raise ValueError(
                        f"stems.{stage}.{number}: residual needs stride 1, an odd kernel and "
                        f"channels={channels} as in its input (got {conv.stride}, {conv.kernel}, "
                        f"{conv.channels})"
                    )
                channels = conv.channels
