"""Cascades of ONNX files, torch.export programs, DVTs and hub models through the whole job."""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dvt as dvt_package
from dvt.loading import load_model, save_model
from tests.command_line import differing_rows, dvt, succeeded
from tests.dvt.members.tiny_networks import TinyNet, export, onnx_model, write_onnx
from tests.processes import kill, running_dvt, wait_for_rows
from tests.small_hub import small_hub

NUM_IMAGES = 2000
Members = Callable[..., AbstractContextManager[tuple[str, ...]]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise around many colours, so that the tiny networks disagree."""
    draw = np.random.default_rng(0)
    content = []
    for _ in range(NUM_IMAGES):
        colour = draw.integers(0, 256, 3)
        pixels = np.clip(draw.normal(colour, 40, (40, 40, 3)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        content.append(file.getvalue())
    path = tmp_path_factory.mktemp("pictures") / "noise.parquet"
    pq.write_table(pa.table({"image": content}), path, row_group_size=100)
    return path


def sharp(seed: int) -> TinyNet:
    """A network whose answers are sure enough for early exits."""
    network = TinyNet(seed)
    network.head.weight.data *= 30
    return network


@contextmanager
def onnx_twice_and_a_dvt(
    folder: Path, tiny_cascade: Callable[..., dvt_package.Cascade]
) -> Iterator[tuple[str, ...]]:
    whole = tiny_cascade()
    whole.labels = tuple("abcde")
    save_model(whole, folder / "dvt")
    first = write_onnx(folder / "first", onnx_model(sharp(1)), labels=list("abcde"))
    second = write_onnx(folder / "second", onnx_model(sharp(2)), labels=list("edcba"))
    yield str(first), str(second), str(folder / "dvt")


@contextmanager
def program_and_onnx(
    folder: Path, tiny_cascade: Callable[..., dvt_package.Cascade]
) -> Iterator[tuple[str, ...]]:
    program = export(sharp(3), folder / "program" / "network.pt2", labels=list("abcde"))
    graph = write_onnx(folder / "graph", onnx_model(sharp(4)), labels=list("abcde"))
    yield str(program), str(graph)


@contextmanager
def hub_twice(
    folder: Path, tiny_cascade: Callable[..., dvt_package.Cascade]
) -> Iterator[tuple[str, ...]]:
    with small_hub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HOME", str(folder / "cache"))
        for name, seed in (("tiny/one", 5), ("tiny/two", 6)):
            path = write_onnx(folder / name, onnx_model(sharp(seed)), labels=list("abcde"))
            files = {each.name: each.read_bytes() for each in path.parent.iterdir()}
            hub.repository(name).commit(files)
        yield "hf-hub:tiny/one", "hf-hub:tiny/two"


@pytest.mark.ray
@pytest.mark.parametrize(
    ("members", "split"),
    [
        (onnx_twice_and_a_dvt, "1 | 2-3 | 4-5"),
        pytest.param(program_and_onnx, "1 | 2", marks=pytest.mark.night),
        pytest.param(hub_twice, "1 | 2", marks=pytest.mark.night),
    ],
)
@pytest.mark.usefixtures("ray_session")
def test_made_tagged_split_killed_and_continued(
    members: Members,
    split: str,
    pictures: Path,
    tmp_path: Path,
    tiny_cascade: Callable[..., dvt_package.Cascade],
) -> None:
    model = tmp_path / "cascade"
    with members(tmp_path, tiny_cascade) as sources:
        asked = ("--data", pictures, "--keep-all", "--max-drop", "20%", "--num-images", "400")
        made = succeeded(dvt("cascade", *sources, "--out", model, *asked, "--json")).json
    assert made["of"] == "agreement"
    assert sum(share > 0 for share in made["exit_shares"]) >= 2
    assert load_model(model).spec.num_stages == len(made["temperatures"])
    command = ("tag", pictures, "--model", model)
    calm, parts, killed = tmp_path / "calm", tmp_path / "parts", tmp_path / "killed"
    done = succeeded(dvt(*command, "--out", calm, "--json")).json
    assert done["tagged"] == NUM_IMAGES
    assert sum(count > 0 for count in done["exits"]) >= 2
    succeeded(dvt(*command, "--out", parts, "--pools", split))
    assert differing_rows(calm / "tags", parts / "tags") == 0
    with running_dvt(*command, "--out", killed, "--batch-size", "64") as process:
        wait_for_rows(killed, process)
        kill(-process.pid)
    succeeded(dvt(*command, "--out", killed))
    assert differing_rows(calm / "tags", killed / "tags") == 0
