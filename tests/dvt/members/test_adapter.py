"""Adapters: a file of scales and shifts, and what they do to a network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.func import functional_call

from dvt.errors import CheckpointError
from dvt.members.adapter import Adapter, read_adapter, write_adapter
from dvt.members.efficientnet_lite import EfficientNetLite
from dvt.training.adapter_layers import AdaptedNetwork

NAME = "efficientnet_lite0"


def random_network() -> EfficientNetLite:
    torch.manual_seed(0)
    network = EfficientNetLite(NAME)
    for layer in network.layers():
        torch.nn.init.kaiming_normal_(layer.weight)
        torch.nn.init.normal_(layer.bias, std=0.1)
    return network


def random_adapter() -> Adapter:
    identity = Adapter.identity(NAME, 64)
    generator = torch.Generator().manual_seed(1)
    scale, shift = (
        torch.randn(identity.scale.shape, generator=generator).mul(0.0625).half().float()
        for _ in range(2)
    )
    return Adapter(NAME, 64, scale, shift)


def test_an_adapter_survives_its_file(tmp_path: Path) -> None:
    adapter = random_adapter()
    write_adapter(adapter, tmp_path / "adapter.safetensors")
    read = read_adapter(tmp_path / "adapter.safetensors")
    assert (read.network, read.image_size) == (NAME, 64)
    assert torch.equal(read.scale, adapter.scale)
    assert torch.equal(read.shift, adapter.shift)


def test_the_identity_changes_no_weight() -> None:
    network, adapted = random_network(), random_network()
    Adapter.identity(NAME, 64).apply(adapted)
    for key, value in network.state_dict().items():
        assert torch.equal(adapted.state_dict()[key], value)


def test_the_trained_network_is_the_one_that_the_adapter_makes() -> None:
    images = torch.randn(2, 3, 64, 64)
    trained = AdaptedNetwork(random_network(), 64)
    for parameter in trained.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    applied = random_network()
    trained.adapter().apply(applied)
    with torch.inference_mode():
        torch.testing.assert_close(trained(images), applied(images).logits, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_autograd() -> None:
    # In float64: rounding moves a value over the edge of a ReLU6, whose gradient is not continuous.
    images, weights = torch.randn(2, 3, 64, 64).double(), torch.randn(2, 1000).double()
    trained = AdaptedNetwork(random_network(), 64).double()
    for parameter in trained.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    (trained(images) * weights).sum().backward()
    adapter, plain = trained.adapter(), random_network().double()
    scale, shift = adapter.scale.clone().requires_grad_(), adapter.shift.clone().requires_grad_()
    sizes = [len(layer.weight) for layer in plain.layers()]
    names = {id(module): name for name, module in plain.named_modules()}
    parameters = {}
    for layer, a, b in zip(plain.layers(), scale.split(sizes), shift.split(sizes), strict=True):
        name, factor = names[id(layer)], (1 + a).view(-1, *[1] * (layer.weight.ndim - 1))
        parameters[f"{name}.weight"] = layer.weight.detach() * factor
        parameters[f"{name}.bias"] = layer.bias.detach() * (1 + a) + b
    (functional_call(plain, parameters, (images,)).logits * weights).sum().backward()
    all_gradients = [(key, p.grad) for key, p in trained.named_parameters() if p.grad is not None]
    for name, expected in (("scale", scale.grad), ("shift", shift.grad)):
        gradient = torch.cat([gradients for key, gradients in all_gradients if key.endswith(name)])
        assert expected is not None
        torch.testing.assert_close(gradient, expected)


def test_only_scales_and_shifts_are_trained() -> None:
    trained = AdaptedNetwork(random_network(), 64)
    (trained(torch.randn(1, 3, 64, 64)) ** 2).mean().backward()
    for name, parameter in trained.named_parameters():
        assert (parameter.grad is not None) == name.endswith(("scale", "shift")), name


def test_an_adapter_of_another_network_is_refused() -> None:
    with pytest.raises(CheckpointError, match="is for efficientnet_lite0, not for"):
        random_adapter().apply(EfficientNetLite("efficientnet_lite2"))


@pytest.mark.parametrize(
    ("channels", "value", "described", "problem"),
    [
        (22_008, 0.0, {"network": "resnet", "image_size": "64"}, "network must be one of"),
        (22_008, 0.0, {}, "network must be one of"),
        (22_008, 0.0, {"network": NAME, "image_size": "big"}, "image_size must be"),
        (7, 0.0, {"network": NAME, "image_size": "64"}, "22008 finite numbers"),
        (22_008, float("nan"), {"network": NAME, "image_size": "64"}, "22008 finite numbers"),
    ],
)
def test_a_wrong_file_is_refused(
    tmp_path: Path, channels: int, value: float, described: dict[str, str], problem: str
) -> None:
    path = tmp_path / "adapter.safetensors"
    tensors = {name: torch.full((channels,), value) for name in ("scale", "shift")}
    save_file(tensors, path, described)
    with pytest.raises(CheckpointError, match=problem):
        read_adapter(path)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 100])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "adapter.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is no adapter, or damaged"):
        read_adapter(path)
