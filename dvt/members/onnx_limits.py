"""Limits of an ONNX graph, checked before anything is expanded or allocated.

Functions of a file may call each other, so that few bytes stand for billions of nodes. Some
operators take the size of their result from the values of a tensor, which shape inference may not
find; these values are computed first, from the part of the graph that they depend on.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from dvt.errors import CheckpointError
from dvt.members.network import LARGEST_TENSOR, one_line
from dvt.members.onnx_cost import Types
from dvt.members.onnx_session import open_session

__all__ = ["check_computed_sizes", "check_expansion"]

_MOST_NODES = 100_000
_MOST_COMPUTED = 256
_SIZED_BY_VALUES = {"ConstantOfShape", "Expand", "Range", "Tile"}

_Function = tuple[str, str, str]


def check_expansion(model: onnx.ModelProto) -> None:
    """Refuses a graph whose functions call themselves or expand to too many nodes.

    Raises:
        CheckpointError: they do.
    """
    functions = {
        (function.domain, function.name, function.overload): function
        for function in model.functions
    }
    sizes: dict[_Function, int | None] = {}  # None while a function is being counted

    def count(nodes: Sequence[onnx.NodeProto]) -> int:
        total = 0
        for node in _with_inner(nodes):
            key = (node.domain, node.op_type, node.overload)
            total += of_function(key) if key in functions else 1
        return total

    def of_function(key: _Function) -> int:
        if key not in sizes:
            sizes[key] = None
            sizes[key] = count(functions[key].node)
        size = sizes[key]
        if size is None:
            raise CheckpointError(f"function {key[1][:100]!r}: calls itself")
        return size

    num_nodes = count(model.graph.node)
    if num_nodes > _MOST_NODES:
        raise CheckpointError(f"must have at most {_MOST_NODES} nodes (got {num_nodes:.6g})")


def _with_inner(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, and those of the graphs in their attributes."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _with_inner(graph.node)


def check_computed_sizes(
    model: onnx.ModelProto,
    types: Types,
    input_name: str,
    shape: tuple[int, ...],
    external: Mapping[str, NDArray[Any]],
) -> None:
    """Refuses operators that would make a tensor too large from computed sizes.

    Args:
        model: the graph.
        types: inferred.
        input_name: of its input.
        shape: of the input.
        external: tensors in other files.

    Raises:
        CheckpointError: there is one, or the sizes cannot be computed.
    """
    element, _ = types[input_name]
    images = np.zeros(shape, helper.tensor_dtype_to_np_dtype(element))
    num_computed = 0
    for position, node in enumerate(model.graph.node):
        if node.op_type not in _SIZED_BY_VALUES or node.output[0] in types:
            continue
        num_computed += 1
        if num_computed > _MOST_COMPUTED:
            raise CheckpointError(
                f"the shape of {node.output[0]!r} is not determined; export the model for a fixed "
                "image size"
            )
        part = _part_before(model, position)
        used = {name for inner in part.graph.node for name in inner.input}
        given = {name: array for name, array in external.items() if name in used}
        try:
            session = open_session(part.SerializeToString(), 1, None, given)
            num_values = _result_size(node.op_type, session.run(None, {input_name: images}))
        except Exception as error:
            raise CheckpointError(f"ONNX Runtime refuses it ({one_line(error)})") from error
        if num_values > LARGEST_TENSOR:
            raise CheckpointError(
                f"tensor {node.output[0]!r}: must have at most {LARGEST_TENSOR} values "
                f"(got {num_values:.6g})"
            )


def _part_before(model: onnx.ModelProto, position: int) -> onnx.ModelProto:
    """The part of a graph that computes the inputs of one of its nodes, as its outputs."""
    graph, wanted = model.graph, list(model.graph.node[position].input)
    needed, nodes = set(wanted), []
    for node in reversed(graph.node[:position]):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = "sizes"
    part.graph.node.extend(reversed(nodes))
    part.graph.input.extend(graph.input)
    part.graph.initializer.extend(item for item in graph.initializer if item.name in needed)
    for number, name in enumerate(wanted):
        output = f"{name}/{number}/size"  # an output may be neither input nor weight
        part.graph.node.append(helper.make_node("Identity", [name], [output]))
        part.graph.output.append(onnx.ValueInfoProto(name=output))
    return part


def _result_size(operator: str, inputs: Sequence[NDArray[Any]]) -> int:
    match operator:
        case "ConstantOfShape":
            return prod(map(int, inputs[0]))
        case "Range":
            start, limit, delta = (value.item() for value in inputs)
            return int(max(0, ceil((limit - start) / delta)))
        case "Expand":
            return prod(np.broadcast_shapes(inputs[0].shape, tuple(map(int, inputs[1]))))
        case _:
            return int(inputs[0].size) * prod(map(int, inputs[1]))
