"""`dvt tag` with a model of the hub: the commit stays that of the first run."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.command_line import dvt_process, rows, succeeded
from tests.dvt.members.tiny_networks import TinyNet, onnx_model, pixels, write_onnx
from tests.small_hub import small_hub


def network_files(folder: Path, seed: int) -> dict[str, bytes]:
    write_onnx(folder, onnx_model(TinyNet(seed)), labels=list("abcde"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_picture(path: Path, values: NDArray[np.uint8]) -> None:
    Image.fromarray(values).resize((48, 48)).save(path)


@pytest.mark.ray
def test_a_run_that_is_continued_or_retried_keeps_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    drawn = pixels(4)
    for number in range(3):
        write_picture(pictures / f"{number}.png", drawn[number])
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    command = ("tag", pictures, "--out", out, "--model", "hf-hub:tiny/net", "--json")
    with small_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        repository = hub.repository("tiny/net")
        first = repository.commit(network_files(tmp_path / "a", 1))
        succeeded(dvt_process(*command))
        repository.commit(network_files(tmp_path / "b", 2))
        write_picture(pictures / "later.png", drawn[3])
        succeeded(dvt_process(*command))
        write_picture(pictures / "broken.png", drawn[3])
        succeeded(dvt_process("retry", out))
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert run["settings"]["model"] == f"hf-hub:tiny/net@{first}"
    scores = {row["key"]: row["confidence"] for row in rows(out / "tags")}
    assert len(scores) == 5
    assert scores["broken.png"] == scores["later.png"]
