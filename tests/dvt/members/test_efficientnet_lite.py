"""EfficientNet-Lite: the same network as its TensorFlow original, with the packages' weights."""

import math
from importlib import metadata
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.errors import CheckpointError
from dvt.members import efficientnet_lite
from dvt.members.efficientnet_lite import (
    EfficientNetLite,
    count_macs,
    load_efficientnet_lite,
    normalise_pixels,
    package_of,
)
from tests.dvt.members.lite_pixels import LITE0, LITE2, random_pixels


def original_logits(name: str, images: Tensor) -> Tensor:
    """The network as published, from the package's own keys: normalisation in a step of its own."""
    path = next(f for f in metadata.files(package_of(name)) or () if f.suffix == ".pth")
    weights = torch.load(str(path.locate()), weights_only=True)

    def layer(x: Tensor, conv: str, norm: str, stride: int, activation: bool) -> Tensor:
        weight = weights[f"{conv}.weight"]
        kernel, groups = weight.shape[-1], x.shape[1] // weight.shape[1]
        missing = (math.ceil(x.shape[-1] / stride) - 1) * stride + kernel - x.shape[-1]
        before, after = max(0, missing) // 2, max(0, missing) - max(0, missing) // 2
        x = F.conv2d(F.pad(x, (before, after) * 2), weight, None, stride, groups=groups)
        mean, var, gamma, beta = (
            weights[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        x = F.batch_norm(x, mean, var, gamma, beta, eps=1e-3)
        return F.relu6(x) if activation else x

    x = layer(images, "_conv_stem", "_bn0", 2, True)
    num_blocks = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("_blocks"))
    last_width = 0
    for number in range(num_blocks):
        block = f"_blocks.{number}."
        width = weights[f"{block}_project_conv.weight"].shape[0]
        is_first, last_width = width != last_width, width
        y = x
        if f"{block}_expand_conv.weight" in weights:
            y = layer(y, f"{block}_expand_conv", f"{block}_bn0", 1, True)
        halves = is_first and width in {24, 40, 80, 192, 48, 88, 208}
        y = layer(y, f"{block}_depthwise_conv", f"{block}_bn1", 2 if halves else 1, True)
        y = layer(y, f"{block}_project_conv", f"{block}_bn2", 1, False)
        x = y if is_first else x + y
    x = layer(x, "_conv_head", "_bn1", 1, True).mean((2, 3))
    return F.linear(x, weights["_fc.weight"], weights["_fc.bias"])


@pytest.mark.parametrize("side", [75, 160])
@pytest.mark.parametrize("name", [LITE0, LITE2])
def test_the_folded_network_computes_what_the_published_one_does(name: str, side: int) -> None:
    images = normalise_pixels(random_pixels(2, side))
    with torch.inference_mode():
        output = load_efficientnet_lite(name)(images)
        expected = original_logits(name, images)
    torch.testing.assert_close(output.logits, expected, rtol=1e-4, atol=1e-4)
    assert output.embedding.shape == (2, 1280)


def test_pixels_become_numbers_within_one() -> None:
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    assert normalise_pixels(pixels).flatten().tolist() == [-127 / 128, 0.0, 1.0]


@pytest.mark.parametrize(
    ("name", "side", "macs"),
    [(LITE0, 160, 197_151_200), (LITE0, 224, 385_187_552), (LITE2, 224, 576_509_424)],
)
def test_macs(name: str, side: int, macs: int) -> None:
    assert count_macs(name, side) == macs


def test_macs_are_those_of_the_layers_that_run() -> None:
    network = EfficientNetLite(LITE0)
    counted = 0

    def count(layer: torch.nn.Module, _: object, output: Tensor) -> None:
        nonlocal counted
        counted += output[0, 0].numel() * cast(Tensor, layer.weight).numel()

    for layer in network.layers():
        layer.register_forward_hook(count)
    network.to("meta")(torch.empty(1, 3, 100, 100, device="meta"))
    assert count_macs(LITE0, 100) == counted


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "package_of", lambda name: "no-such-package-model")
    with pytest.raises(CheckpointError, match="in the package no-such-package-model, which is not"):
        load_efficientnet_lite(LITE0)


def test_weights_of_another_network_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "package_of", lambda name: package_of(LITE2))
    with pytest.raises(CheckpointError, match="holds no weights of efficientnet_lite0"):
        load_efficientnet_lite(LITE0)
