"""Hostile and broken `torch.export` archives: nothing in them runs; one line each."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dvt
from dvt.members.pt2_archive import read_archive
from tests.dvt.loading.refusals import refusal
from tests.dvt.members.tiny_networks import TinyNet, export, write_config

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

Entries = dict[str, bytes]
MODEL = "network/models/model.json"


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> Entries:
    """Of the archive of a usable program."""
    path = export(TinyNet(), tmp_path_factory.mktemp("program") / "network.pt2")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(entries: Entries, folder: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    write_config(folder)
    path = folder / "network.pt2"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def graph_change(change: Callable[[dict[str, Any]], object]) -> Callable[[Entries], None]:
    """Changes the graph module of the program."""

    def apply(entries: Entries) -> None:
        program = json.loads(entries[MODEL])
        change(program["graph_module"])
        entries[MODEL] = json.dumps(program).encode()

    return apply


def node(number: int, **changes: Any) -> Callable[[Entries], None]:
    return graph_change(lambda module: module["graph"]["nodes"][number].update(changes))


def argument(name: str, **value: Any) -> dict[str, Any]:
    return {"name": name, "arg": value, "kind": 1}


def pickled_weight(entries: Entries) -> None:
    name = "network/data/weights/model_weights_config.json"
    config = json.loads(entries[name])
    config["config"]["conv.weight"]["use_pickle"] = True
    entries[name] = json.dumps(config).encode()


def pickled_object(entries: Entries) -> None:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
    config = json.dumps({"config": {"object": entry}})
    entries["network/data/constants/model_constants_config.json"] = config.encode()


def older_weights(entries: Entries) -> None:
    entries.pop("network/data/weights/model_weights_config.json")
    entries["network/data/weights/model.pt"] = b"pickle"


def compiled(entries: Entries) -> None:
    entries["network/data/aotinductor/model/code.so"] = b"\x7fELF"


def short_weight(entries: Entries) -> None:
    entries["network/data/weights/weight_0"] = b"1234"


def stretched_weight(entries: Entries) -> None:
    """A stride of 0: any number of values from four bytes."""
    name = "network/data/weights/model_weights_config.json"
    config = json.loads(entries[name])
    described = config["config"]["conv.weight"]["tensor_meta"]
    described["sizes"], described["strides"] = [{"as_int": 2**40}], [{"as_int": 0}]
    entries[name] = json.dumps(config).encode()


def two_programs(entries: Entries) -> None:
    entries["network/models/other.json"] = entries[MODEL]


def other_format(entries: Entries) -> None:
    entries.pop("network/archive_format")


def not_json(entries: Entries) -> None:
    entries[MODEL] = b"{" * 100_000


SYSTEM = node(0, target="torch.os.system", inputs=[argument("command", as_string="true")])
FILE = node(0, target="torch.ops.aten.from_file.default", inputs=[argument("mode", as_string="x")])
WORD = node(0, inputs=[argument("mode", as_string="x")])
IMAGES = argument("self", as_tensor={"name": "images"})
WEIGHT = argument("self", as_tensor={"name": "p_conv_weight"})


def aten(target: str, *inputs: dict[str, Any]) -> Callable[[Entries], None]:
    """Puts another operator in the place of the first node."""
    return node(0, target=f"torch.ops.aten.{target}", inputs=inputs)


MANY = argument("size", as_ints=[2**8, 2**4, 2**6, 2**6])
TOO = "a tensor must have at most 268435456 values"
NONE = [argument(name, as_none=True) for name in ("weight", "bias")]
STATISTICS = [argument(name, as_tensor={"name": "b_norm_mean"}) for name in ("mean", "var")]
TRAINING = [IMAGES, *NONE, *STATISTICS, argument("training", as_bool=True)]
CASES: list[tuple[Callable[[Entries], None], str]] = [
    (pickled_weight, "refused, 'conv.weight' is pickled"),
    (pickled_object, "refused, 'object' is pickled"),
    (older_weights, "its weights are pickled; export the model again with torch 2.9 or newer"),
    (compiled, "refused, it holds compiled code"),
    (short_weight, "tensor 'network/data/weights/weight_0': has too few bytes"),
    (stretched_weight, "tensor 'network/data/weights/weight_0': must have at most 268435456 val"),
    (two_programs, "must hold one program (got 2)"),
    (other_format, "not a torch.export program of torch 2.9 or newer; export the model again"),
    (not_json, "damaged ("),
    (SYSTEM, "operator 'torch.os.system': not allowed"),
    (FILE, "operator 'torch.ops.aten.from_file.default': not allowed"),
    (WORD, "operator conv2d: argument 'input': as_string is not allowed"),
    (aten("expand.default", IMAGES, argument("size", as_ints=[10**6] * 6)), "cannot run on a bat"),
    # Terabytes, if they were allocated.
    (aten("repeat.default", IMAGES, MANY), "a tensor must have at most 268435456 values (got [5"),
    (aten("pad.default", IMAGES, argument("pad", as_ints=[10**5] * 4)), "a tensor must have at m"),
    (
        aten("full.default", argument("size", as_ints=[2**40]), argument("fill_value", as_int=0)),
        TOO,
    ),
    (aten("arange.default", argument("end", as_int=2**40)), TOO),
    (aten("cat.default", argument("tensors", as_tensors=[{"name": "images"}] * 10**5)), TOO),
    # Writing to weights, and to the images, which belong to the caller.
    (aten("fill_.Scalar", WEIGHT, argument("value", as_int=0)), "operator fill_: writes to a wei"),
    (aten("relu_.default", IMAGES), "operator relu_: writes to a weight or to the images"),
    (aten("relu.out", IMAGES, argument("out", as_tensor=WEIGHT["arg"]["as_tensor"])), "operator "),
    (aten("set_.default", WEIGHT), "operator 'torch.ops.aten.set_.default': not allowed"),
    (aten("batch_norm.default", *TRAINING), "operator batch_norm: is in training mode; call mo"),
    # Attributes of an operator that are none of its overloads.
    (aten("conv2d.overloads"), "operator 'torch.ops.aten.conv2d.overloads': not allowed"),
    (aten("conv2d.__class__"), "operator 'torch.ops.aten.conv2d.__class__': not allowed"),
    (node(0, target="torch.ops.aten._cudnn_init_dropout_state.default"), "operator 'torch.ops.a"),
    (node(0, target="torch.ops.aten.no_such.default"), "operator 'torch.ops.aten.no_such.def"),
    (node(0, target="torch.ops.aten.conv2d.no_such"), "operator 'torch.ops.aten.conv2d.no_s"),
    (node(0, target="_operator.attrgetter"), "operator '_operator.attrgetter': not allowed"),
    (node(0, target="torch.ops.mylib.conv.default"), "operator 'torch.ops.mylib.conv.default'"),
    (node(0, target=["list"]), "damaged (TypeError"),
    (
        node(0, inputs=[argument("x", as_graph={"name": "g"})]),
        "operator conv2d: argument 'input': a",
    ),
    (node(0, inputs=[argument("x", as_tensor={"name": "unknown"})]), "cannot run on a batch of 2"),
    (graph_change(lambda module: module.pop("signature")), "damaged (KeyError: 'signature')"),
    (graph_change(lambda module: module["signature"]["input_specs"].pop()), "inputs: must be one"),
]


@pytest.mark.parametrize(("change", "said"), CASES)
def test_an_archive_that_cannot_be_used_is_refused_with_the_reason(
    change: Callable[[Entries], None], said: str, entries: Entries, tmp_path: Path
) -> None:
    changed = dict(entries)
    change(changed)
    assert refusal(write(changed, tmp_path)).startswith(said)


def test_pickles_beside_the_program_are_not_read(entries: Entries, tmp_path: Path) -> None:
    """`torch.export.load` unpickles the sample inputs."""
    mark = tmp_path / "mark"
    changed = dict(entries)
    buffer = io.BytesIO()
    torch.save(Payload(mark), buffer)
    changed["network/data/sample_inputs/model.pt"] = buffer.getvalue()
    path = write(changed, tmp_path)
    dvt.load_model(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()


def test_expressions_of_sizes_are_not_evaluated(entries: Entries, tmp_path: Path) -> None:
    """`torch.export.load` evaluates them as Python."""
    mark = tmp_path / "mark"
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"

    def plant(module: dict[str, Any]) -> None:
        for value in module["graph"]["tensor_values"].values():
            value["sizes"] = [{"as_expr": {"expr_str": code, "hint": None}}] * len(value["sizes"])

    changed = dict(entries)
    graph_change(plant)(changed)
    dvt.load_model(write(changed, tmp_path))
    assert not mark.exists()


def test_a_stored_tensor_with_many_names_is_read_once(entries: Entries, tmp_path: Path) -> None:
    changed = dict(entries)
    name = "network/data/weights/model_weights_config.json"
    config = json.loads(changed[name])
    weight = config["config"]["conv.weight"]
    config["config"] |= {f"copy_{number}": weight for number in range(1000)}
    changed[name] = json.dumps(config).encode()
    tensors = read_archive(write(changed, tmp_path)).tensors
    assert len({tensors[f"copy_{number}"].data_ptr() for number in range(1000)}) == 1


def test_compressed_entries_are_refused(entries: Entries, tmp_path: Path) -> None:
    """A megabyte may become a terabyte."""
    path = write(entries, tmp_path, zipfile.ZIP_DEFLATED)
    assert refusal(path) == "its entries must not be compressed"


def test_no_operator_opens_a_file(entries: Entries, tmp_path: Path) -> None:
    """`from_file` maps a file into memory, and `fill_` would overwrite it."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")

    def plant(module: dict[str, Any]) -> None:
        nodes = module["graph"]["nodes"]
        for target, name, inputs in (
            ("fill_.Scalar", "filled", [opened, argument("value", as_int=0)]),
            ("from_file.default", "opened", [path, shared, argument("size", as_int=2)]),
        ):
            outputs = [{"as_tensor": {"name": name}}]
            target = f"torch.ops.aten.{target}"
            nodes.insert(0, {"target": target, "inputs": inputs, "outputs": outputs})

    opened = argument("self", as_tensor={"name": "opened"})
    path = argument("mode", as_string=str(victim))  # the name is the file's own choice
    shared = argument("shared", as_bool=True)
    changed = dict(entries)
    graph_change(plant)(changed)
    assert "from_file.default': not allowed" in refusal(write(changed, tmp_path / "model"))
    assert victim.read_bytes() == b"precious"


def test_a_view_of_a_weight_is_not_written_to(tmp_path: Path) -> None:
    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = TinyNet()

        def forward(self, images: Tensor) -> Tensor:
            self.network.head.weight.detach()[0].fill_(0)
            logits: Tensor = self.network(images)
            return logits

    network = Writing()
    path = tmp_path / "network.pt2"
    said = refusal(export(network.eval(), path))
    assert said.startswith(("operator fill_: writes to a weight", "writes to its buffers"))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_archive_is_refused(share: float, entries: Entries, tmp_path: Path) -> None:
    path = write(entries, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    # The end of a short one may be that of the archive with the sample inputs.
    assert refusal(path).startswith(("truncated, damaged or not a torch.e", "not a torch.export p"))


class Random(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.rand(images.shape[0], 5) + images.mean()


class Einsum(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        product: Tensor = torch.einsum("bchw,bdhw->bc", images, images)
        return product


class Two(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.mean((2, 3)), images


class Sigmoid(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)).sigmoid()


class Infinite(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) / 0


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (TinyNet().train(), "operator batch_norm: is in training mode; call model.eval() before"),
        (Einsum(), "operator 'torch.ops.aten.einsum.default': not allowed"),
        (Random(), "operator rand: is random; call model.eval() before the export"),
        (Two(), "outputs: must be one, the logits (got 2)"),
        (Sigmoid(), "the output is a sigmoid for several labels an image; allowed are logits or"),
        (Infinite(), "the output for random pixels is not finite"),
        (nn.Flatten(2), "the output must be [2, classes] for 2 images (got [2, 3, 1024])"),
    ],
)
def test_a_program_that_gives_no_logits_is_refused(
    network: nn.Module, said: str, tmp_path: Path
) -> None:
    assert refusal(export(network, tmp_path / "network.pt2")).startswith(said)


def test_the_size_must_be_that_of_the_configuration(tmp_path: Path) -> None:
    path = export(TinyNet(), tmp_path / "network.pt2")
    write_config(tmp_path, image_size=48)
    assert refusal(path) == (
        "input: must be floating-point [batch, 3, 48, 48] (got torch.float32 [?, 3, 32, 32])"
    )
