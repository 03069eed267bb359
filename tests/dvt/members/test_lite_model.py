"""EfficientNet-Lite as a model: loaded from a folder, run by ONNX Runtime, fitted by an adapter."""

import json
from pathlib import Path

import pytest
import torch

import dvt
from dvt.errors import CheckpointError
from dvt.loading import load_model
from dvt.members.adapter import Adapter, write_adapter
from dvt.members.efficientnet_lite import load_efficientnet_lite, normalise_pixels

SIZE = 64
CONFIG = {
    "kind": "efficientnet_lite",
    "name": "small",
    "network": "efficientnet_lite0",
    "image_size": SIZE,
}


def folder_with(path: Path, **changes: object) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIG | changes))
    return path


def test_the_executor_equals_the_network_and_ignores_the_batch(tmp_path: Path) -> None:
    model = load_model(folder_with(tmp_path))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)
    executor = model.make_executor()
    output = executor.run(0, pixels, None, 8)
    with torch.inference_mode():
        expected = load_efficientnet_lite("efficientnet_lite0")(normalise_pixels(pixels))
    torch.testing.assert_close(output.logits, expected.logits, atol=1e-3, rtol=1e-3)
    assert output.embedding is not None
    torch.testing.assert_close(output.embedding, expected.embedding, atol=1e-3, rtol=1e-3)
    assert torch.equal(executor.run(0, pixels[3:4], None, 8).logits, output.logits[3:4])
    assert model.spec.stages[0].embedding_width == 1280
    assert model.labels is not None
    assert model.labels[162] == "beagle"


def test_predict_takes_normalised_images(tmp_path: Path) -> None:
    model = load_model(folder_with(tmp_path))
    pixels = torch.randint(0, 256, (3, SIZE, SIZE, 3), dtype=torch.uint8)
    preprocess = model.spec.preprocess
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preprocess.mean, preprocess.std))
    prediction = model.predict((pixels.permute(0, 3, 1, 2) / 255 - mean) / std, batch_size=8)
    logits = model.make_executor().run(0, pixels, None, 8).logits
    assert torch.equal(prediction.labels, logits.argmax(dim=1))


def test_an_adapter_changes_answers_and_digest(tmp_path: Path) -> None:
    plain = load_model(folder_with(tmp_path / "a"))
    adapter = Adapter.identity("efficientnet_lite0", SIZE)
    adapter.shift[-1] += 100.0
    folder = folder_with(tmp_path / "b", adapter="fitted.safetensors")
    write_adapter(adapter, folder / "fitted.safetensors")
    fitted = load_model(folder)
    assert fitted.digest() != plain.digest()
    pixels = torch.zeros((1, SIZE, SIZE, 3), dtype=torch.uint8)
    assert int(fitted.make_executor().run(0, pixels, None, 4).logits.argmax()) == 999


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "efficientnet_b7"}, "network: "),
        ({"image_size": 9000}, "image_size: "),
        ({"adapter": "missing.safetensors"}, "missing.safetensors: is no adapter, or damaged"),
        ({"adapter": "../x.safetensors"}, "adapter: must be a file name"),
        ({"depth": 3}, "depth"),
    ],
)
def test_a_faulty_folder_is_one_line(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        dvt.load_model(folder_with(tmp_path, **changes))
    assert "\n" not in str(caught.value)
