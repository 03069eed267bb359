"""A network whose scales and shifts are trainable while its weights stay as they are.

The layers save neither the output before the scale nor a gradient of the weights, which makes a
step a third cheaper than autograd's. Shapes: B images, C channels, S pixels per side.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvt.members.adapter import Adapter
from dvt.members.efficientnet_lite import Convolution, EfficientNetLite

__all__ = ["AdaptedNetwork"]


class AdaptedNetwork(nn.Module):
    """A network with trainable scales and shifts.

    Args:
        network: with its weights; changed in place.
        image_size: that the adapter is trained for.
    """

    def __init__(self, network: EfficientNetLite, image_size: int) -> None:
        super().__init__()
        self.name, self.image_size = network.name, image_size
        network.requires_grad_(False)
        # Convolutions are faster when weights have the memory layout of their input.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in [network, *network.blocks]:
            for name, layer in list(module.named_children()):
                if isinstance(layer, Convolution):
                    setattr(module, name, _AdaptedConvolution(layer))
        network.add_module("classifier", _AdaptedLinear(network.classifier))

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Logits of normalised images."""
        return cast(Tensor, self.network(images_B3SS).logits)

    def adapter(self) -> Adapter:
        """The trained numbers."""
        layers = [m for m in self.modules() if isinstance(m, _AdaptedConvolution | _AdaptedLinear)]
        scale, shift = (
            torch.cat([getattr(layer, name).detach().cpu() for layer in layers])
            for name in ("scale", "shift")
        )
        return Adapter(self.name, self.image_size, scale, shift)


class _AdaptedConvolution(nn.Module):
    def __init__(self, layer: Convolution) -> None:
        super().__init__()
        self.layer = layer
        self.scale, self.shift = (nn.Parameter(torch.zeros_like(layer.bias)) for _ in range(2))

    def forward(self, x_BCSS: Tensor) -> Tensor:
        layer = self.layer
        x, padding = layer.padded(x_BCSS)
        parameters = (layer.weight, layer.bias, self.scale, self.shift)
        settings = (layer.stride, padding, layer.groups, layer.activation)
        return cast(Tensor, _ScaledConvolution.apply(x, *parameters, *settings))  # type: ignore[no-untyped-call]


class _AdaptedLinear(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.scale, self.shift = (nn.Parameter(torch.zeros_like(layer.bias)) for _ in range(2))

    def forward(self, x_BD: Tensor) -> Tensor:
        return cast(Tensor, (1 + self.scale) * self.layer(x_BD) + self.shift)


class _ScaledConvolution(torch.autograd.Function):
    """`relu6((1 + scale) * (conv(x, weight) + bias) + shift)`, or without the ReLU6."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        shift: Tensor,
        stride: int,
        padding: tuple[int, int],
        groups: int,
        activation: bool,
    ) -> Tensor:
        factor = 1 + scale
        scaled = weight * factor.view(-1, 1, 1, 1)
        y = F.conv2d(x, scaled, bias * factor + shift, stride, padding, 1, groups)
        if activation:
            y.clamp_(0, 6)
        ctx.save_for_backward(x, scaled, y, factor, shift)
        ctx.settings = stride, padding, groups, activation
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, scaled, y, factor, shift = ctx.saved_tensors
        stride, padding, groups, activation = ctx.settings
        gradient = gradients[0]
        if activation:
            gradient = torch.ops.aten.hardtanh_backward(gradient, y, 0.0, 6.0)
        of_shift = gradient.sum((0, 2, 3))
        # Where the gradient is not zero, y is the scaled output: its part before the shift,
        # divided by the factor, is what the scale multiplies.
        of_scale = ((gradient * y).sum((0, 2, 3)) - shift * of_shift) / factor
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = torch.ops.aten.convolution_backward(
                gradient, x, scaled, None, [stride] * 2, list(padding), [1, 1], False, [0, 0],
                groups, [True, False, False],
            )[0]  # fmt: skip
        return of_x, None, None, of_scale, of_shift, None, None, None, None
