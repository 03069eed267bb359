"""Shapes and MACs of an ONNX graph.

Only matrix products and convolutions count, as in `dvt.cost`. Operators whose MACs are not counted,
control flow, and operators outside the ONNX standard are refused.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, shape_inference

from dvt.errors import CheckpointError
from dvt.members.network import LARGEST_TENSOR, one_line
from dvt.members.onnx_session import open_session

__all__ = ["Types", "check_operators", "count_macs", "infer_types", "measure_types"]

Types = Mapping[str, tuple[int, tuple[int, ...]]]
"""Element type (of `onnx.TensorProto`) and shape of each tensor whose shape is determined."""

_STANDARD = {"", "ai.onnx"}
_UNCOUNTED = {"Einsum", "DeformConv", "GRU", "LSTM", "RNN"}
# Positions of data and weight among the inputs.
_CONVOLUTIONS = {"Conv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3)}
_PRODUCTS = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}
_SMALL = 4096  # values of a tensor that shape inference may read


def infer_types(model: onnx.ModelProto, input_name: str, shape: tuple[int, ...]) -> Types:
    """Types of all tensors for an input of a shape.

    Raises:
        CheckpointError: the graph contradicts itself, or a tensor is too large.
    """
    graph = model.graph
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = "shapes"
    light.graph.node.extend(graph.node)
    for value in graph.input:
        if value.name == input_name:
            element = value.type.tensor_type.elem_type
            light.graph.input.append(helper.make_tensor_value_info(input_name, element, shape))
    for tensor in graph.initializer:
        if prod(tensor.dims) <= _SMALL and tensor.data_location != onnx.TensorProto.EXTERNAL:
            light.graph.initializer.append(tensor)
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        light.graph.input.append(info)
    try:
        inferred = shape_inference.infer_shapes(light, data_prop=True).graph
    except Exception as error:
        raise CheckpointError(f"not a valid graph ({one_line(error)})") from error
    types = dict(_types((*inferred.input, *inferred.value_info)))
    for name, (_, sides) in types.items():
        if prod(sides) > LARGEST_TENSOR:
            raise CheckpointError(
                f"tensor {name!r}: must have at most {LARGEST_TENSOR} values (got {list(sides)})"
            )
    return types


def _types(
    values: tuple[onnx.ValueInfoProto, ...],
) -> Iterator[tuple[str, tuple[int, tuple[int, ...]]]]:
    for value in values:
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            yield value.name, (tensor.elem_type, tuple(dim.dim_value for dim in tensor.shape.dim))


def check_operators(graph: onnx.GraphProto) -> None:
    """Refuses operators that are not supported.

    Raises:
        CheckpointError: there is one.
    """
    for node in graph.node:
        name = node.op_type
        if node.domain not in _STANDARD:
            raise CheckpointError(
                f"operator {node.domain}.{name}: only operators of the ONNX standard are allowed"
            )
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise CheckpointError(f"operator {name}: control flow is not supported")
        if name in _UNCOUNTED:
            raise CheckpointError(
                f"operator {name}: its MACs are not counted, so it is not supported"
            )


def count_macs(graph: onnx.GraphProto, types: Types) -> int:
    """MACs of one run of the graph.

    Raises:
        CheckpointError: a shape is not determined.
    """
    return sum(_macs_of(node, types) for node in graph.node)


def _macs_of(node: onnx.NodeProto, types: Types) -> int:
    name = node.op_type
    attributes = {attribute.name: attribute for attribute in node.attribute}

    def shape(position: int) -> tuple[int, ...]:
        return _shape(node.input[position], types)

    if name in _CONVOLUTIONS:  # weight [out, in / groups, …]
        return prod(_shape(node.output[0], types)) * prod(shape(_CONVOLUTIONS[name][1])[1:])
    if name == "ConvTranspose":  # weight [in, out / groups, …]
        return prod(shape(0)) * prod(shape(1)[1:])
    if name in _PRODUCTS:
        return prod(_shape(node.output[0], types)) * shape(_PRODUCTS[name][0])[-1]
    if name == "Gemm":
        transposed = "transA" in attributes and attributes["transA"].i
        return prod(_shape(node.output[0], types)) * shape(0)[0 if transposed else -1]
    if name == "Attention":
        return _attention(shape(0), shape(1), _shape(node.output[0], types), attributes)
    return 0


def measure_types(
    model: onnx.ModelProto,
    types: Types,
    input_name: str,
    shape: tuple[int, ...],
    external: Mapping[str, NDArray[Any]],
) -> Types:
    """The types with those that count and could not be inferred, from a run on zeros.

    Args:
        model: the graph.
        types: inferred.
        input_name: of its input.
        shape: of the input.
        external: tensors in other files.

    Raises:
        CheckpointError: the graph cannot run.
    """
    wanted = {name for node in model.graph.node for name in _counted(node)}
    missing = sorted(wanted - types.keys() - {tensor.name for tensor in model.graph.initializer})
    if not missing:
        return types
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:], copy.graph.value_info[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing)
    element, _ = types[input_name]
    zeros = np.zeros(shape, helper.tensor_dtype_to_np_dtype(element))
    try:
        session = open_session(copy.SerializeToString(), 1, None, external)
        arrays = session.run(missing, {input_name: zeros})
    except Exception as error:
        raise CheckpointError(f"ONNX Runtime refuses it ({one_line(error)})") from error
    measured = {
        name: (int(helper.np_dtype_to_tensor_dtype(array.dtype)), array.shape)
        for name, array in zip(missing, arrays, strict=True)
    }
    return {**types, **measured}


def _counted(node: onnx.NodeProto) -> list[str]:
    """Tensors whose shapes determine the MACs of a node."""
    is_counted = node.op_type in {*_CONVOLUTIONS, *_PRODUCTS, "Attention", "ConvTranspose", "Gemm"}
    return [*filter(None, node.input), node.output[0]] if is_counted else []


def _attention(
    query: tuple[int, ...],
    key: tuple[int, ...],
    output: tuple[int, ...],
    attributes: Mapping[str, onnx.AttributeProto],
) -> int:
    """Both products; tensors are [B, heads, tokens, channels] or [B, tokens, heads * channels]."""
    tokens = key[-2]
    if len(query) == 3 and "q_num_heads" not in attributes:
        raise CheckpointError("operator Attention: has no number of heads")
    return (prod(query) + prod(output)) * tokens


def _shape(name: str, types: Types) -> tuple[int, ...]:
    if name not in types:
        raise CheckpointError(
            f"the shape of {name!r} is not determined; export the model for a fixed image size"
        )
    return types[name][1]
