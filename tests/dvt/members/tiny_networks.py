"""Tiny networks in files: a convolution, a pooling and a classifier, as ONNX and torch.export."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dvt.config import Preprocess
from dvt.preprocess import normalise, pixels_to_unit

SIZE, CLASSES, WIDTH = 32, 5, 8
PREPROCESS = Preprocess(resize=36, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
# 16x16 positions, 3x3 windows of 3 channels, 8 channels; and the classifier.
MACS = 16 * 16 * 9 * 3 * WIDTH + WIDTH * CLASSES


class TinyNet(nn.Module):
    """Logits of images [B, 3, S, S]."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm = nn.Conv2d(3, WIDTH, 3, 2, 1), nn.BatchNorm2d(WIDTH)
        self.activation, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.eval()

    def features(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.activation(self.norm(self.conv(images))).mean((2, 3))
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.drop(self.features(images)))
        return logits


def pixels(num_images: int, size: int = SIZE) -> NDArray[np.uint8]:
    shape = (num_images, size, size, 3)
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def normalised(num_images: int, size: int = SIZE) -> Tensor:
    return normalise(pixels_to_unit(torch.from_numpy(pixels(num_images, size))), PREPROCESS)


def write_config(folder: Path, **changes: Any) -> None:
    """A `config.json` in this project's own words."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"kind": "network", "name": "tiny", "image_size": SIZE}
    config |= {"preprocess": PREPROCESS.model_dump()} | changes
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def onnx_model(
    network: TinyNet,
    sides: Sequence[int | str] = ("B", 3, "H", "W"),
    element: int = TensorProto.FLOAT,
    before: Sequence[onnx.NodeProto] = (),
    after: Sequence[onnx.NodeProto] = (),
    output: str = "logits",
    **extra: NDArray[Any],
) -> onnx.ModelProto:
    """The network as a graph.

    Args:
        network: in evaluation mode; its normalisation is left out.
        sides: of the input "images".
        element: type of the input.
        before: nodes that make "x" of "images".
        after: nodes behind "logits".
        output: name of the graph's output.
        extra: further weights.
    """
    weights = {**network.conv.state_dict(prefix="conv."), **network.head.state_dict(prefix="head.")}
    arrays = {name: value.numpy() for name, value in weights.items()} | extra
    nodes = [
        *(before or [helper.make_node("Identity", ["images"], ["x"])]),
        helper.make_node(
            "Conv", ["x", "conv.weight", "conv.bias"], ["c"], pads=[1] * 4, strides=[2, 2]
        ),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "head.weight", "head.bias"], ["logits"], transB=1),
        *after,
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", element, list(sides))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_onnx(folder: Path, model: onnx.ModelProto, **config: Any) -> Path:
    """A folder with `model.onnx` and its configuration; returns the file."""
    write_config(folder, **config)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def export(
    network: nn.Module, path: Path, batch_size: int | None = None, size: int = SIZE, **config: Any
) -> Path:
    """Writes a network as `torch.export` program with its configuration; returns the file."""
    write_config(path.parent, **({"image_size": size} | config))
    images = torch.randn(batch_size or 2, 3, size, size)
    dynamic = None if batch_size else ({0: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(network, (images,), dynamic_shapes=dynamic), path)
    return path
