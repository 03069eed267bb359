"""ONNX files as models: outputs, embeddings, cost, forms of input, digests."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

import dvt
from dvt.loading import files_of_model
from tests.dvt.members.tiny_networks import (
    CLASSES,
    MACS,
    SIZE,
    WIDTH,
    TinyNet,
    normalised,
    onnx_model,
    pixels,
    write_config,
    write_onnx,
)


@pytest.fixture
def network() -> TinyNet:
    """Without the normalisation, which graphs fold into the convolution."""
    network = TinyNet()
    network.norm = torch.nn.Identity()  # type: ignore[assignment]
    return network


@torch.no_grad()
def check_same(path: Path, network: TinyNet, num_images: int = 5, batch_size: int = 8) -> dvt.Model:
    """Logits, embedding and prediction agree with torch's."""
    model = dvt.load_model(path)
    images = normalised(num_images)
    executor = model.make_executor()
    output = executor.run(0, executor.upload(pixels(num_images))(), None, batch_size)
    assert torch.allclose(output.logits, network(images), atol=1e-5)
    assert output.embedding is not None
    assert torch.allclose(output.embedding, network.features(images), atol=1e-5)
    prediction = model.predict(images, batch_size=batch_size)
    assert torch.equal(prediction.labels, network(images).argmax(1))
    return model


def test_a_graph_agrees_with_torch(network: TinyNet, tmp_path: Path) -> None:
    path = write_onnx(tmp_path, onnx_model(network), labels=list("abcde"))
    model = check_same(tmp_path, network)
    assert dvt.load_model(path).digest() == model.digest()
    assert model.labels == tuple("abcde")
    spec = model.spec
    assert (spec.name, spec.num_classes, spec.image_size) == ("tiny", CLASSES, SIZE)
    (stage,) = spec.stages
    assert (stage.macs, stage.embedding_width) == (MACS, WIDTH)
    assert model.inference_dtype(torch.device("cuda")) == torch.float32
    assert model.thresholds() == (float("-inf"),)


FORMS: dict[str, dict[str, Any]] = {
    "symbols": {"sides": ("B", "C", "H", "W")},
    "fixed batch": {"sides": (3, 3, SIZE, SIZE)},
    "fixed batch of one": {"sides": (1, 3, SIZE, SIZE)},
    "channels last": {
        "sides": ("B", SIZE, SIZE, 3),
        "before": [helper.make_node("Transpose", ["images"], ["x"], perm=[0, 3, 1, 2])],
    },
    "half precision": {
        "element": TensorProto.FLOAT16,
        "before": [helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT)],
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_float_input_agrees_with_torch(
    form: str, network: TinyNet, tmp_path: Path
) -> None:
    write_onnx(tmp_path, onnx_model(network, **FORMS[form]))
    if form != "half precision":
        assert check_same(tmp_path, network).spec.stages[0].macs == MACS
        return
    logits = dvt.load_model(tmp_path)(normalised(5))[0]
    assert torch.allclose(logits, network(normalised(5)), atol=1e-3)


def test_a_graph_over_bytes_normalises_them_itself(network: TinyNet, tmp_path: Path) -> None:
    """The preprocessing's mean and deviation do not apply to it."""
    before = [
        helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["f", "two"], ["h"]),
        helper.make_node("Transpose", ["h"], ["x"], perm=[0, 3, 1, 2]),
    ]
    sides = ("B", SIZE, SIZE, 3)
    graph = onnx_model(network, sides, TensorProto.UINT8, before, two=np.array([2], np.float32))
    write_onnx(tmp_path, graph)
    images = torch.from_numpy(pixels(3)).permute(0, 3, 1, 2) / 2
    executor = dvt.load_model(tmp_path).make_executor()
    logits = executor.run(0, torch.from_numpy(pixels(3)), None, 3).logits
    assert torch.allclose(logits, network(images), rtol=1e-5)


@pytest.mark.parametrize("by", ["a last node", "a node before", "three nodes", "log"])
def test_probabilities_become_logits(by: str, network: TinyNet, tmp_path: Path) -> None:
    """Exits use softmax(logits); that of probabilities would be nearly flat."""
    softmax = helper.make_node("Softmax", ["logits"], ["p"])
    after = {
        "a last node": [softmax],
        "a node before": [softmax, helper.make_node("Identity", ["p"], ["q"])],
        "three nodes": [
            helper.make_node("Exp", ["logits"], ["e"]),
            helper.make_node("ReduceSum", ["e", "axis"], ["s"]),
            helper.make_node("Div", ["e", "s"], ["p"]),
        ],
        "log": [helper.make_node("LogSoftmax", ["logits"], ["p"])],
    }[by]
    output = "q" if by == "a node before" else "p"
    model = onnx_model(network, after=after, output=output, axis=np.array([1]))
    write_onnx(tmp_path, model)
    logits = dvt.load_model(tmp_path)(normalised(4))[0]
    assert torch.allclose(logits.softmax(1), network(normalised(4)).softmax(1), atol=1e-6)


def test_one_of_several_outputs_is_chosen_by_name(network: TinyNet, tmp_path: Path) -> None:
    model = onnx_model(network)
    for name in ("g", "r"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    write_onnx(tmp_path, model)
    check_same(tmp_path, network)
    model.graph.node[-1].output[0] = "scores"
    model.graph.output[0].name = "scores"
    write_onnx(tmp_path, model, output="scores")
    check_same(tmp_path, network)
    write_onnx(tmp_path, model)
    with pytest.raises(dvt.CheckpointError, match=r"one of 'scores', 'g', 'r' \(got 'logits'\)"):
        dvt.load_model(tmp_path)


def test_a_classifier_of_1x1_convolutions_has_an_embedding(
    network: TinyNet, tmp_path: Path
) -> None:
    model = onnx_model(network)
    nodes = model.graph.node
    del nodes[-2:]
    nodes.append(helper.make_node("Conv", ["g", "kernel", "head.bias"], ["logits"]))
    kernel = network.head.weight.detach().numpy()[:, :, None, None]
    model.graph.initializer.append(onnx.numpy_helper.from_array(kernel, "kernel"))
    write_onnx(tmp_path, model)
    assert check_same(tmp_path, network).spec.stages[0].macs == MACS


def test_a_matrix_product_with_a_bias_has_an_embedding(network: TinyNet, tmp_path: Path) -> None:
    model = onnx_model(network, transposed=network.head.weight.detach().numpy().T.copy())
    nodes = model.graph.node
    del nodes[-1]
    nodes.append(helper.make_node("MatMul", ["embedding", "transposed"], ["m"]))
    nodes.append(helper.make_node("Add", ["m", "head.bias"], ["logits"]))
    write_onnx(tmp_path, model)
    assert check_same(tmp_path, network).spec.stages[0].macs == MACS


def test_a_shape_that_cannot_be_inferred_is_measured(network: TinyNet, tmp_path: Path) -> None:
    """torch's exporter writes strided views as an index that a range makes."""
    model = onnx_model(network, zero=np.array(0), one=np.array(1))
    nodes = model.graph.node
    nodes[-1].input[0] = "rows"
    last = nodes.pop()
    nodes.extend(
        [
            helper.make_node("Shape", ["embedding"], ["shape"]),
            helper.make_node("Gather", ["shape", "zero"], ["size"]),
            helper.make_node("Range", ["zero", "size", "one"], ["range"]),
            helper.make_node("Mul", ["range", "one"], ["index"]),
            helper.make_node("Gather", ["embedding", "index"], ["rows"]),
            last,
        ]
    )
    write_onnx(tmp_path, model)
    assert check_same(tmp_path, network).spec.stages[0].macs == MACS


def external(network: TinyNet, folder: Path, location: str = "weights.bin") -> Path:
    """The graph with its weights in a file beside it."""
    folder.mkdir()
    model = onnx_model(network)
    write_config(folder)
    onnx.save(
        model,
        str(folder / "model.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    if location != "weights.bin":
        loaded = onnx.load(str(folder / "model.onnx"), load_external_data=False)
        for tensor in loaded.graph.initializer:
            next(item for item in tensor.external_data if item.key == "location").value = location
        (folder / "model.onnx").write_bytes(loaded.SerializeToString())
    return folder


def test_weights_may_be_in_a_file_beside_the_graph(network: TinyNet, tmp_path: Path) -> None:
    """Also through links, as in the cache of the Hugging Face hub."""
    folder = external(network, tmp_path / "a")
    digest = check_same(folder, network).digest()
    (tmp_path / "blobs").mkdir()
    shutil.move(folder / "weights.bin", tmp_path / "blobs" / "1")
    (folder / "weights.bin").symlink_to(tmp_path / "blobs" / "1")
    assert check_same(folder, network).digest() == digest
    content = bytearray((tmp_path / "blobs" / "1").read_bytes())
    content[0] ^= 1
    (tmp_path / "blobs" / "1").write_bytes(content)
    assert dvt.load_model(folder).digest() != digest


def test_a_network_can_be_copied_with_all_that_it_needs(network: TinyNet, tmp_path: Path) -> None:
    path = external(network, tmp_path / "onnx") / "model.onnx"
    shutil.move(path.parent / "config.json", tmp_path / "config.json")
    (tmp_path / "onnx" / "other.bin").write_bytes(b"not needed")
    digest = check_same(path, network).digest()
    files = files_of_model(path)
    assert sorted(files) == ["config.json", "model.onnx", "weights.bin"]
    (tmp_path / "copy").mkdir()
    for name, file in files.items():
        shutil.copy(file, tmp_path / "copy" / name)
    assert check_same(tmp_path / "copy" / "model.onnx", network).digest() == digest


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "", "none"])
def test_weights_outside_the_folder_are_refused(
    location: str, network: TinyNet, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(bytes(10_000))
    folder = external(network, tmp_path / "a", location)
    problem = "No such file" if location == "none" else "its file must be inside the folder"
    with pytest.raises(dvt.CheckpointError, match=problem):
        dvt.load_model(folder)


def test_a_file_of_weights_that_is_too_short_is_refused(network: TinyNet, tmp_path: Path) -> None:
    folder = external(network, tmp_path / "a")
    path = folder / "weights.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(dvt.CheckpointError, match=r"does not fit into weights\.bin"):
        dvt.load_model(folder)


def rows_of(model: dvt.Model, images: NDArray[np.uint8], batch_size: int) -> NDArray[Any]:
    executor = model.make_executor()
    return executor.run(0, torch.from_numpy(images.copy()), None, batch_size).logits.numpy()


@pytest.mark.parametrize("sides", [("B", 3, SIZE, SIZE), (4, 3, SIZE, SIZE)])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_image_has_the_same_bits_wherever_it_is_in_a_batch(
    sides: tuple[int | str, ...], threads: int, network: TinyNet, tmp_path: Path
) -> None:
    write_onnx(tmp_path, onnx_model(network, sides))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = dvt.load_model(tmp_path)
        images = pixels(7)
        whole = rows_of(model, images, 8)
        assert np.array_equal(rows_of(model, images[::-1], 8)[::-1], whole)
        assert np.array_equal(rows_of(model, images[3:4], 8), whole[3:4])
    finally:
        torch.set_num_threads(before)


def test_the_digest_covers_graph_preprocessing_and_classes(
    network: TinyNet, tmp_path: Path
) -> None:
    digests = set()
    cases: list[tuple[onnx.ModelProto, dict[str, Any]]] = [
        (onnx_model(network), {}),
        (onnx_model(network), {"labels": list("abcde")}),
        (onnx_model(network), {"preprocess": {"resize": 40}}),
        (onnx_model(TinyNet(seed=1)), {}),
    ]
    for graph, config in cases:
        write_onnx(tmp_path, graph, **config)
        digests.add(dvt.load_model(tmp_path).digest())
    assert len(digests) == 4


def test_thousand_classes_without_names_are_imagenets(tmp_path: Path) -> None:
    network = TinyNet()
    network.head = torch.nn.Linear(WIDTH, 1000)
    write_onnx(tmp_path, onnx_model(network))
    labels = dvt.load_model(tmp_path).labels
    assert labels is not None
    assert labels[0] == "tench"


@pytest.mark.parametrize("place", ["onnx", "."])
def test_files_of_a_hub_are_found_beside_their_configuration(
    place: str, network: TinyNet, tmp_path: Path
) -> None:
    """As timm writes it; the folder `onnx` is that of transformers.js."""
    fields = {"input_size": [3, SIZE, SIZE], "crop_pct": 0.875, "interpolation": "bilinear"}
    fields |= {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "label_names": list("abcde")}
    config = {"architecture": "resnet18", "pretrained_cfg": fields}
    path = write_onnx(tmp_path / place, onnx_model(network))
    (path.parent / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = check_same(tmp_path, network)
    assert (model.spec.name, model.labels) == ("resnet18", tuple("abcde"))
    preprocess = model.spec.preprocess
    assert (preprocess.resize, preprocess.interpolation) == (36, "bilinear")
    assert dvt.load_model(path).digest() == model.digest()
