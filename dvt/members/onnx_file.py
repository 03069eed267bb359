"""Reads an ONNX file and finds input, logits and embedding in its graph.

The file is untrusted. It is parsed here and edited in memory: the outputs become the logits, before
a final softmax, and the input of the classifier. Large tensors may be in files beside it.

Shapes: B images, S pixels per side, C classes, D width of the embedding.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, inliner

from dvt.errors import CheckpointError
from dvt.members.network import damage_in_one_line
from dvt.members.onnx_cost import Types, check_operators, count_macs, infer_types, measure_types
from dvt.members.onnx_limits import check_computed_sizes, check_expansion

__all__ = ["OnnxGraph", "external_files", "read_onnx"]

_INPUT_TYPES: dict[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
}
_OUTPUT_TYPES: set[int] = {TensorProto.FLOAT, TensorProto.FLOAT16}
_CLASSIFIERS = {"Conv", "Gemm", "MatMul"}
# Between the classifier and the output.
_PASSED = {"Add", "Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze"}


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A graph that ONNX Runtime can run.

    Attributes:
        content: the edited model.
        external: tensors that are in other files, by name, mapped into memory.
        input_name: of its only input.
        input_type: of the input.
        layout: of the input: [B, 3, S, S] or [B, S, S, 3].
        batch_size: B if the graph has a fixed one.
        outputs: names of the logits and, if there is one, of the embedding.
        embedding_width: D, or 0.
        macs: of one image.
        digest: SHA-256 of all files, in hex.
    """

    content: bytes
    external: Mapping[str, NDArray[Any]]
    input_name: str
    input_type: type[np.generic]
    layout: Literal["channels_first", "channels_last"]
    batch_size: int | None
    outputs: tuple[str, ...]
    embedding_width: int
    macs: int
    digest: str


def read_onnx(path: Path, image_size: int, output: str | None = None) -> OnnxGraph:
    """Reads a file.

    Args:
        path: of the file.
        image_size: S.
        output: name of the logits; None for the only output or the one called "logits".

    Raises:
        CheckpointError: unreadable, damaged, hostile or not supported; without the path.
    """
    try:
        content = path.read_bytes()
        model = onnx.ModelProto.FromString(content)
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})") from error
    except Exception as error:  # protobuf's, which ships no types
        raise CheckpointError("truncated, damaged or not an ONNX file") from error
    if not model.graph.node:
        raise CheckpointError("truncated, damaged or not an ONNX file")
    with damage_in_one_line():
        return _graph(model, path, hashlib.sha256(content), image_size, output)


def external_files(path: Path) -> list[str]:
    """Files, relative to a graph that can be loaded, with tensors of it."""
    external = _External(path.parent)
    for tensor in onnx.load(str(path), load_external_data=False).graph.initializer:
        external.read(tensor)
    return external.names


def _graph(
    model: onnx.ModelProto, path: Path, digest: "hashlib._Hash", image_size: int, output: str | None
) -> OnnxGraph:
    external = _External(path.parent)
    tensors = {tensor.name: external.read(tensor) for tensor in model.graph.initializer}
    external.check_none_in(model)
    for name in external.names:
        with (path.parent / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    check_expansion(model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    check_operators(model.graph)
    layout, batch_size, input_ = _input(model.graph, image_size)
    sides = [dim.dim_value for dim in input_.type.tensor_type.shape.dim]
    shape = (batch_size or 1, *sides[1:])
    apart = {name: array for name, array in tensors.items() if array is not None}
    types = infer_types(model, input_.name, shape)
    check_computed_sizes(model, types, input_.name, shape, apart)
    types = measure_types(model, types, input_.name, shape, apart)
    macs = count_macs(model.graph, types) // (batch_size or 1)
    logits = _logits(model.graph, output)
    embedding = _embedding(model.graph, logits, types, batch_size or 1)
    outputs = (logits,) if embedding is None else (logits, embedding)
    _replace_outputs(model.graph, outputs, types)
    return OnnxGraph(
        content=model.SerializeToString(),
        external=apart,
        input_name=input_.name,
        input_type=_INPUT_TYPES[input_.type.tensor_type.elem_type],
        layout=layout,
        batch_size=batch_size,
        outputs=outputs,
        embedding_width=0 if embedding is None else types[embedding][1][1],
        macs=macs,
        digest=digest.hexdigest(),
    )


@dataclass(slots=True)
class _External:
    """Files beside the graph that hold tensors.

    Attributes:
        folder: of the graph; a tensor's file must be in it.
        names: of the files, in the order of their first use.
    """

    folder: Path
    names: list[str] = field(default_factory=list)

    def read(self, tensor: onnx.TensorProto) -> NDArray[Any] | None:
        """The values of a tensor in another file; None for others."""
        if tensor.data_location != TensorProto.EXTERNAL:
            return None
        fields = {entry.key: entry.value for entry in tensor.external_data}
        name = fields.get("location", "")
        path = self.folder / name
        if not name or Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name:
            raise CheckpointError(
                f"tensor {tensor.name!r}: its file must be inside the folder (got {name!r})"
            )
        try:
            offset, dtype = int(fields.get("offset", 0)), _numpy_type(tensor.data_type)
            count = prod(tensor.dims)
            values = np.memmap(path, dtype, "r", offset, (count,)) if count else np.empty(0, dtype)
            array = values.reshape(tuple(tensor.dims))
        except OSError as error:
            problem = error.strerror or "is empty"
            raise CheckpointError(f"tensor {tensor.name!r}: {name}: {problem}") from error
        except (KeyError, OverflowError, ValueError) as error:
            raise CheckpointError(f"tensor {tensor.name!r}: does not fit into {name}") from error
        if name not in self.names:
            self.names.append(name)
        return array

    def check_none_in(self, model: onnx.ModelProto) -> None:
        """Refuses other tensors that are in files: those of nodes, and sparse ones."""
        nodes = [*model.graph.node, *(node for part in model.functions for node in part.node)]
        tensors = [
            tensor
            for node in nodes
            for attribute in node.attribute
            for tensor in (attribute.t, *attribute.tensors)
        ]
        if model.graph.sparse_initializer or any(
            tensor.data_location == TensorProto.EXTERNAL for tensor in tensors
        ):
            raise CheckpointError("sparse tensors, and files of a node's tensors, are not allowed")


def _numpy_type(element: int) -> np.dtype[Any]:
    dtype = helper.tensor_dtype_to_np_dtype(element)
    if dtype.kind not in "biuf":
        raise ValueError(f"no type of numpy: {dtype}")
    return dtype


def _input(
    graph: onnx.GraphProto, size: int
) -> tuple[Literal["channels_first", "channels_last"], int | None, onnx.ValueInfoProto]:
    """Layout, fixed batch size and the input, whose sides are set to the size."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs[:5]) or "none"
        raise CheckpointError(f"inputs: must be one, the images (got {names})")
    tensor = inputs[0].type.tensor_type
    sides = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    shown = f"{[side or '?' for side in sides]}".replace("'", "")
    if tensor.elem_type not in _INPUT_TYPES:
        raise CheckpointError(
            f"input {inputs[0].name!r}: must be float32, float16 or uint8 "
            f"(got {TensorProto.DataType.Name(tensor.elem_type).lower()})"
        )
    first, last = (3, size, size), (size, size, 3)
    if len(sides) == 4 and _fits(sides[1:], first):
        layout, wanted = "channels_first", first
    elif len(sides) == 4 and _fits(sides[1:], last):
        layout, wanted = "channels_last", last
    else:
        raise CheckpointError(
            f"input {inputs[0].name!r}: must be [batch, 3, {size}, {size}] or "
            f"[batch, {size}, {size}, 3] (got {shown})"
        )
    for dim, side in zip(list(tensor.shape.dim)[1:], wanted, strict=True):
        dim.dim_value = side
    if sides[0] is None:
        tensor.shape.dim[0].dim_param = "batch"
    return (
        ("channels_first" if layout == "channels_first" else "channels_last"),
        sides[0],
        inputs[0],
    )


def _fits(sides: list[int | None], wanted: tuple[int, ...]) -> bool:
    return all(side in (None, want) for side, want in zip(sides, wanted, strict=True))


def _logits(graph: onnx.GraphProto, output: str | None) -> str:
    """Name of the tensor with the logits, before a final softmax."""
    names = [value.name for value in graph.output]
    if output is None:
        output = names[0] if len(names) == 1 else "logits"
    if output not in names:
        shown = ", ".join(map(repr, names[:5])) or "none"
        raise CheckpointError(f"output: must be one of {shown} (got {output!r})")
    producers = _producers(graph)
    name = output
    while name in producers and producers[name].op_type == "Identity":
        name = producers[name].input[0]
    last = producers[name].op_type if name in producers else ""
    if last == "Sigmoid":
        raise CheckpointError(
            f"output {output!r}: is a sigmoid for several labels an image; allowed are logits or a "
            "softmax over the classes"
        )
    return producers[name].input[0] if last == "Softmax" else output


def _embedding(graph: onnx.GraphProto, logits: str, types: Types, batch_size: int) -> str | None:
    """Name of the classifier's input [B, D] or [B, D, 1, 1]; None if it is not found."""
    producers = _producers(graph)
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {name for name, node in producers.items() if node.op_type == "Constant"}
    name = logits
    while name in producers:
        node = producers[name]
        if node.op_type in _CLASSIFIERS:
            element, shape = types.get(node.input[0], (0, ()))
            is_vector = len(shape) >= 2 and shape[0] == batch_size and prod(shape[2:]) == 1
            is_usable = is_vector and element in _OUTPUT_TYPES and shape[1] > 1
            return node.input[0] if is_usable and node.input[0] not in constants else None
        inputs = [source for source in node.input if source and source not in constants]
        if node.op_type not in _PASSED or len(inputs) != 1:
            return None
        (name,) = inputs
    return None


def _producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in graph.node for name in node.output}


def _replace_outputs(graph: onnx.GraphProto, outputs: tuple[str, ...], types: Types) -> None:
    declared = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    del graph.output[:]
    del graph.value_info[:]  # may hold the symbols of the sides
    for name in outputs:
        element = types[name][0] if name in types else declared.get(name, 0)
        if element not in _OUTPUT_TYPES:
            raise CheckpointError(f"output {name!r}: must be float32 or float16 of known shape")
        graph.output.append(helper.make_tensor_value_info(name, element, None))
