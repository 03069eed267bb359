"""Broken and hostile ONNX files: one line each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import dvt
from tests.dvt.loading.refusals import refusal
from tests.dvt.members.tiny_networks import SIZE, TinyNet, onnx_model, write_onnx

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture
def intact() -> onnx.ModelProto:
    return onnx_model(TinyNet())


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))


def shape(*sides: int | str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        del model.graph.input[:]
        info = helper.make_tensor_value_info("images", TensorProto.FLOAT, list(sides))
        model.graph.input.append(info)

    return change


def whole_numbers(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


def then(*nodes: onnx.NodeProto) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node.extend(nodes)
        model.graph.output[0].name = nodes[-1].output[0]

    return change


def claim_a_petabyte(model: onnx.ModelProto) -> None:
    model.graph.initializer[2].dims[0] = 10**14


def allocate(model: onnx.ModelProto) -> None:
    """A constant of a terabyte that adds nothing."""
    size = helper.make_tensor("size", TensorProto.INT64, [2], [10**6, 10**6])
    model.graph.initializer.append(size)
    then(
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["none"], keepdims=0),
        helper.make_node("Add", ["logits", "none"], ["sum"]),
    )(model)


def loop(model: onnx.ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["logits"], ["same"])],
        "branch",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
    )
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    model.graph.initializer.append(true)
    then(helper.make_node("If", ["true"], ["out"], then_branch=branch, else_branch=branch))(model)


def not_finite(model: onnx.ModelProto) -> None:
    bias = np.full(5, np.nan, np.float32)
    model.graph.initializer[3].CopyFrom(onnx.numpy_helper.from_array(bias, "head.bias"))


def wrong_weight(model: onnx.ModelProto) -> None:
    kernel = np.zeros((8, 4, 3, 3), np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(kernel, "conv.weight"))


def fixed_inside(model: onnx.ModelProto) -> None:
    """The batch size is fixed by a reshape only."""
    size = helper.make_tensor("size", TensorProto.INT64, [2], [1, 5])
    model.graph.initializer.append(size)
    then(helper.make_node("Reshape", ["logits", "size"], ["out"]))(model)


def external_constant(model: onnx.ModelProto) -> None:
    tensor = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["value"], value=tensor))


def functions(num: int, calls: int, last: str = "Identity") -> Change:
    """Functions that each call the next one several times."""

    def change(model: onnx.ModelProto) -> None:
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        for number in range(num):
            inner = f"f{number + 1}" if number + 1 < num else last
            domain = "own" if inner.startswith("f") else ""
            names = ["x", *(f"t{call}" for call in range(calls - 1)), "y"]
            nodes = [
                helper.make_node(inner, [names[call]], [names[call + 1]], domain=domain)
                for call in range(calls)
            ]
            model.functions.append(
                helper.make_function("own", f"f{number}", ["x"], ["y"], nodes, opsets)
            )
        model.opset_import.append(helper.make_opsetid("own", 1))
        then(helper.make_node("f0", ["logits"], ["s"], domain="own"))(model)

    return change


def computed_size(operator: str, *inputs: str) -> Change:
    """A tensor whose size is computed from the images: 2**40 values."""

    def change(model: onnx.ModelProto) -> None:
        for name, values in (("zero", 0), ("one", 1), ("side", [2**20, 2**20])):
            model.graph.initializer.append(numpy_helper.from_array(np.array(values), name))
        model.graph.initializer.append(numpy_helper.from_array(np.array(2**40), "end"))
        then(
            helper.make_node("ReduceMax", ["images"], ["top"], keepdims=0),
            helper.make_node("Cast", ["top"], ["number"], to=TensorProto.INT64),
            helper.make_node("Mul", ["number", "zero"], ["nothing"]),
            helper.make_node("Add", ["side", "nothing"], ["sides"]),
            helper.make_node("Add", ["end", "nothing"], ["last"]),
            helper.make_node("Reshape", ["nothing", "ones"], ["base"]),
            helper.make_node(operator, list(inputs), ["huge"]),
            helper.make_node("Cast", ["huge"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["floats"], ["none"], keepdims=0),
            helper.make_node("Add", ["logits", "none"], ["sum"]),
        )(model)
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1]), "ones"))

    return change


HUGE = "tensor 'huge': must have at most 268435456 values (got 1.09951e+12)"
CASES: list[tuple[Change, str]] = [
    (functions(30, 10), "must have at most 100000 nodes (got 1e+30)"),
    (functions(2, 2, "f0"), "function 'f0': calls itself"),
    (computed_size("ConstantOfShape", "sides"), HUGE),
    (computed_size("Expand", "base", "sides"), HUGE),
    (computed_size("Tile", "base", "sides"), HUGE),
    (computed_size("Range", "zero", "last", "one"), HUGE),
    (two_inputs, "inputs: must be one, the images (got 'images', 'mask')"),
    (shape("B", 3, 48, 48), "input 'images': must be [batch, 3, 32, 32] or [batch, 32, 32, 3] (g"),
    (shape("B", 1, SIZE, SIZE), "input 'images': must be [batch, 3, 32, 32] or"),
    (shape("B", 3), "input 'images': must be [batch, 3, 32, 32] or [batch, 32, 32, 3] (got [?, "),
    (whole_numbers, "input 'images': must be float32, float16 or uint8 (got int64)"),
    (then(helper.make_node("Sigmoid", ["logits"], ["s"])), "output 's': is a sigmoid for several"),
    (then(helper.make_node("ArgMax", ["logits"], ["s"])), "output 's': must be float32 or float16"),
    (then(helper.make_node("Identity", ["r"], ["s"])), "the output must be [2, classes] for 2 ima"),
    (
        then(helper.make_node("Einsum", ["logits", "logits"], ["s"], equation="bc,bc->bc")),
        "operato",
    ),
    (then(helper.make_node("Gelu", ["logits"], ["s"], domain="com.microsoft")), "operator com.mic"),
    (then(helper.make_node("NoSuchOperator", ["logits"], ["s"])), "ONNX Runtime refuses it ("),
    (claim_a_petabyte, "tensor 'head.weight': must have at most 268435456 values"),
    (allocate, "tensor 'huge': must have at most 268435456 values (got [1000000, 1000000])"),
    (shape(10**9, 3, SIZE, SIZE), "tensor 'images': must have at most"),
    (loop, "operator If: control flow is not supported"),
    (not_finite, "the output for random pixels is not finite"),
    (wrong_weight, "cannot run on a batch of 2: ONNX Runtime: "),
    (fixed_inside, "cannot run on a batch of 2: ONNX Runtime: "),
    (external_constant, "sparse tensors, and files of a node's tensors, are not allowed"),
]


@pytest.mark.parametrize(("change", "said"), CASES)
def test_a_graph_that_cannot_be_used_is_refused_with_the_reason(
    change: Change, said: str, intact: onnx.ModelProto, tmp_path: Path
) -> None:
    change(intact)
    assert refusal(write_onnx(tmp_path, intact)).startswith(said)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(share: float, intact: onnx.ModelProto, tmp_path: Path) -> None:
    path = write_onnx(tmp_path, intact)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert refusal(path) == "truncated, damaged or not an ONNX file"


def test_bytes_changed_at_random_never_raise_anything_else(
    intact: onnx.ModelProto, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A changed weight may leave a usable network; nothing is printed."""
    path = write_onnx(tmp_path, intact)
    content = path.read_bytes()
    random = torch.Generator().manual_seed(0)
    num_refused = 0
    for _ in range(150):
        changed = bytearray(content)
        for place in torch.randint(0, len(content), (3,), generator=random).tolist():
            changed[place] = int(torch.randint(0, 256, (1,), generator=random))
        path.write_bytes(changed)
        num_refused += is_refused(path)
    assert 30 < num_refused < 150
    assert capfd.readouterr() == ("", "")


def is_refused(path: Path) -> bool:
    try:
        dvt.load_model(path)
    except dvt.CheckpointError as error:
        return "\n" not in str(error)
    return False


def test_the_configuration_must_fit(intact: onnx.ModelProto, tmp_path: Path) -> None:
    path = write_onnx(tmp_path, intact, labels=["a", "b"])
    assert refusal(path) == "names 2 classes in config.json, but has 5 outputs"
    write_onnx(tmp_path, intact, image_size=4)
    with pytest.raises(dvt.CheckpointError, match=r"config\.json: image_size: must be at least 8"):
        dvt.load_model(path)
    (tmp_path / "config.json").unlink()
    assert refusal(path).startswith("needs a config.json beside it with image size, preprocessing")


def test_a_folder_with_several_networks_needs_a_choice(
    intact: onnx.ModelProto, tmp_path: Path
) -> None:
    path = write_onnx(tmp_path, intact)
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(path.read_bytes())
    path.unlink()
    assert refusal(tmp_path) == "holds several networks (a.onnx, b.onnx); name one of them"
