"""ONNX graphs of EfficientNet-Lite networks.

    graph = onnx_graph(network, image_size=160)      # bytes of an ONNX model
    session = open_session(graph, num_threads=1)
    logits_BK, embedding_BD = session.run(None, {"pixels": pixels_BSS3})

A graph takes uint8 pixels [B, S, S, 3] named `pixels` and has the outputs `logits` [B, K] and
`embedding` [B, D] in float32. The batch size B is free. Normalisation is part of the graph: 127 is
subtracted, so that the padding of the first convolution is zero as in training, and the division
by 128 is in that convolution's weights, which is exact for a power of two.

Shapes: B images, S pixels per side, K classes, D width of the embedding.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from dvt.members.efficientnet_lite import (
    PIXEL_MEAN,
    PIXEL_SCALE,
    Convolution,
    EfficientNetLite,
    InvertedResidual,
    same_padding,
)

__all__ = ["onnx_graph"]

_OPSET, _IR_VERSION = 17, 8


def onnx_graph(network: EfficientNetLite, image_size: int) -> bytes:
    """An ONNX model with the network's weights.

    Args:
        network: with adapter applied, if it has one.
        image_size: S, which determines the padding of each convolution.
    """
    return _Graph(network, image_size).serialised()


class _Graph:
    """Nodes and weights of one network, appended in the order of the forward pass."""

    def __init__(self, network: EfficientNetLite, image_size: int) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._size, self._side = image_size, image_size
        x = self._node("Cast", "pixels", to=TensorProto.FLOAT)
        x = self._node("Sub", x, self._weight("pixel_mean", np.float32(PIXEL_MEAN)))
        x = self._node("Transpose", x, perm=(0, 3, 1, 2))
        x = self._convolution("stem", network.stem, x, 1 / PIXEL_SCALE)
        for number, block in enumerate(network.blocks):
            assert isinstance(block, InvertedResidual)
            x = self._block(f"blocks.{number}", block, x)
        x = self._convolution("head", network.head, x)
        x = self._node("Flatten", self._node("GlobalAveragePool", x))
        self._nodes.append(helper.make_node("Identity", [x], ["embedding"]))
        linear = network.classifier
        weight, bias = (
            self._weight(f"classifier.{key}", _array(getattr(linear, key)))
            for key in ("weight", "bias")
        )
        self._nodes.append(helper.make_node("Gemm", [x, weight, bias], ["logits"], transB=1))
        self._widths = {"logits": linear.out_features, "embedding": linear.in_features}

    def serialised(self) -> bytes:
        size = self._size
        pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["B", size, size, 3])
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", width])
            for name, width in self._widths.items()
        ]
        graph = helper.make_graph(
            self._nodes, "efficientnet_lite", [pixels], outputs, self._weights
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        return bytes(model.SerializeToString())

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Appends a node and returns its output."""
        output = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _weight(self, name: str, values: NDArray[np.float32] | np.float32) -> str:
        self._weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _block(self, name: str, block: InvertedResidual, x: str) -> str:
        shortcut = x
        if block.expand is not None:
            x = self._convolution(f"{name}.expand", block.expand, x)
        x = self._convolution(f"{name}.depthwise", block.depthwise, x)
        x = self._convolution(f"{name}.project", block.project, x)
        return self._node("Add", x, shortcut) if block.has_shortcut else x

    def _convolution(self, name: str, layer: Convolution, x: str, factor: float = 1.0) -> str:
        """Appends a layer whose weights are multiplied by `factor`."""
        kernel, stride = layer.weight.shape[-1], layer.stride
        before, after = same_padding(self._side, kernel, stride)
        self._side = -(-self._side // stride)
        x = self._node(
            "Conv",
            x,
            self._weight(f"{name}.weight", _array(layer.weight) * np.float32(factor)),
            self._weight(f"{name}.bias", _array(layer.bias)),
            kernel_shape=(kernel, kernel),
            strides=(stride, stride),
            pads=(before, before, after, after),
            group=layer.groups,
        )
        if not layer.activation:
            return x
        if not any(weight.name == "six" for weight in self._weights):
            self._weight("zero", np.float32(0))
            self._weight("six", np.float32(6))
        return self._node("Clip", x, "zero", "six")


def _array(parameter: Tensor) -> NDArray[np.float32]:
    return np.asarray(parameter.detach().float().cpu().numpy(), np.float32)
