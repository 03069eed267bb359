"""What a cascade is made of: frozen configurations, validated where they are made.

A `CascadeConfig` determines every shape of the model and every figure of its cost; it is what
`config.json` beside a checkpoint holds. It knows nothing of weights, devices or thresholds.
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from dvt.errors import ConfigError

__all__ = [
    "CascadeConfig",
    "Preprocess",
    "StemConv",
    "TokenGrid",
    "first_problem",
    "patch_grid",
    "t2t_grid",
]

# The second and third soft split of the T2T tokenizer, whatever the grid (T2T-ViT, section 3.1).
T2T_LATER_SPLIT = (3, 2, 1)


def first_problem(error: ValidationError) -> str:
    """One line for a pydantic error: field, what is allowed, and the value received."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or "configuration"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and not problem["loc"]:
        return message
    if problem["type"] == "missing":  # its input is everything around the field
        return f"{field}: {message}"
    if message.endswith(")") and "(got " in message:  # it says so itself
        return f"{field}: {message}"
    received = repr(problem["input"])
    if len(received) > 100:
        received = received[:100] + "…"
    return f"{field}: {message} (got {received})"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenGrid(Frozen):
    """The window that turns an image into `size` x `size` tokens.

    For the `patch` tokenizer it is the convolution; for `t2t` the first of three soft splits; for
    `conv` the convolution behind the stem, over the stem's map.
    """

    size: Annotated[int, Field(ge=1, description="tokens per side")]
    kernel: Annotated[int, Field(ge=1, description="window side, pixels")]
    stride: Annotated[int, Field(ge=1, description="step between windows, pixels")]
    padding: Annotated[int, Field(ge=0, description="zeros on each side, pixels")]


class StemConv(Frozen):
    """One convolution of a `conv` tokenizer's stem, padded by (kernel - 1) // 2, then GELU."""

    channels: Annotated[int, Field(ge=1, description="channels it gives")]
    kernel: Annotated[int, Field(ge=1, description="window side")] = 3
    stride: Annotated[int, Field(ge=1, description="step between windows")] = 1
    residual: Annotated[bool, Field(description="its input is added to what it gives")] = False

    @property
    def padding(self) -> int:
        """Zeros on each side."""
        return (self.kernel - 1) // 2


class Preprocess(Frozen):
    """From a picture to the model's input: resize the short side, centre crop, normalise."""

    resize: Annotated[int, Field(ge=1, description="short side after resizing, pixels")] = 256
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class CascadeConfig(Frozen):
    """A cascade of `len(grids)` Transformers of one width and depth, coarsest grid first."""

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
    random_features: Annotated[int, Field(ge=1, description="m of the token performer")] = 32
    stems: Annotated[
        tuple[tuple[StemConv, ...], ...], Field(description="of the `conv` tokenizer, one a stage")
    ] = ()
    preprocess: Preprocess = Preprocess()

    @model_serializer(mode="wrap")
    def _without_empty_stems(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Models without stems are written, and have the digest, that they had before stems."""
        fields: dict[str, Any] = serialise(self)
        if not self.stems:
            fields.pop("stems", None)
        return fields

    def with_changes(self, **changes: Any) -> Self:
        """The same with other values of some fields, validated like any other.

        Raises:
            ConfigError: a value is out of range or contradicts another.
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
        """Whether this stage (from 0) reads features of the one before it."""
        return self.feature_reuse and stage > 0

    def reuses_relations(self, stage: int) -> bool:
        """Whether this stage (from 0) reads attention logits of the one before it."""
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
            sides.append(_windows(sides[-1], *window))
        return sides[1:]

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
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
                    f"{' behind its stem' if self.stems else ''}, not size={grid.size}"
                )
        return self

    def _check_stems(self) -> None:
        wanted = self.num_stages if self.tokenizer == "conv" else 0
        if len(self.stems) != wanted:
            raise ValueError(
                f"stems: must be {wanted} for {self.num_stages} stages with the {self.tokenizer} "
                f"tokenizer (got {len(self.stems)})"
            )
        for stage, stem in enumerate(self.stems):
            channels = 3
            for number, conv in enumerate(stem):
                if conv.residual and (conv.stride, conv.kernel % 2, conv.channels) != (
                    1,
                    1,
                    channels,
                ):
                    raise ValueError(
                        f"stems.{stage}.{number}: residual needs stride 1, an odd kernel and "
                        f"channels={channels} as before it (got {conv.stride}, {conv.kernel}, "
                        f"{conv.channels})"
                    )
                channels = conv.channels


def _windows(side: int, kernel: int, stride: int, padding: int) -> int:
    """Number of window positions along one side; 0 if the window does not fit."""
    return max(0, (side + 2 * padding - kernel) // stride + 1)


def patch_grid(image_size: int, size: int) -> TokenGrid:
    """The convolution that gives `size` x `size` tokens from touching patches, as in DeiT.

    32/32/0, 23/23/3 and 16/16/0 at 224 px for 7, 10 and 14 tokens (DVT, appendix A).

    Raises:
        ConfigError: `size` exceeds `image_size`.
    """
    if not 1 <= size <= image_size:
        raise ConfigError(f"grid size: must be between 1 and image_size={image_size} (got {size})")
    stride = math.ceil(image_size / size)
    padding = math.ceil((stride * size - image_size) / 2)
    return TokenGrid(size=size, kernel=stride, stride=stride, padding=padding)


def t2t_grid(image_size: int, size: int) -> TokenGrid:
    """The first soft split of the T2T tokenizer that ends in `size` x `size` tokens.

    The published cascades have 14/8/3, 11/6/5 and 7/4/2 at 224 px for 7, 10 and 14 tokens; other
    grids get a stride near image_size / (4 size) and the smallest padding that fits.

    Raises:
        ConfigError: no stride and padding reach that grid.
    """
    published = {(224, 7): (14, 8, 3), (224, 10): (11, 6, 5), (224, 14): (7, 4, 2)}
    if (image_size, size) in published:
        kernel, stride, padding = published[image_size, size]
        return TokenGrid(size=size, kernel=kernel, stride=stride, padding=padding)
    wanted = image_size / (4 * size)
    for stride in sorted(range(1, math.ceil(wanted) + 2), key=lambda step: abs(step - wanted)):
        kernel = max(3, 2 * stride - 1)
        for padding in range(kernel // 2 + 1):
            side = _windows(image_size, kernel, stride, padding)
            for _ in range(2):
                side = _windows(side, *T2T_LATER_SPLIT)
            if side == size:
                return TokenGrid(size=size, kernel=kernel, stride=stride, padding=padding)
    raise ConfigError(f"grid size: no soft split turns {image_size} px into {size}x{size} tokens")
