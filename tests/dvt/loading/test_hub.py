"""Models of a Hugging Face hub on loopback: which files, which revision, which refusals."""

import builtins
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import dvt
from dvt.loading import checkpoint_folder, find_model, pin_model, same_model
from jobs.calibration.calibration_set import calibration_set_path
from tests.dvt.members.tiny_networks import TinyNet, onnx_model, write_onnx
from tests.small_hub import TOKEN, SmallHub, reimport

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")

Environment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    return partial(reimport, monkeypatch)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Of a network, and others that nobody wants."""
    return network_files(tmp_path / "network", 0) | {
        "README.md": b"# A card",
        "pytorch_model.bin": b"pickle",
        "modeling_tiny.py": b"raise SystemExit",
        "onnx/model_fp16.onnx": b"another",
        "tf_model.h5": b"another",
    }


def network_files(folder: Path, seed: int) -> dict[str, bytes]:
    write_onnx(folder, onnx_model(TinyNet(seed)), labels=list("abcde"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(source: str) -> str:
    with pytest.raises(dvt.CheckpointError) as caught:
        dvt.load_model(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_only_the_files_of_the_network_are_downloaded_once(
    hub: SmallHub, files: dict[str, bytes], tmp_path: Path
) -> None:
    commit = hub.repository("tiny/files").commit(files)
    model = dvt.load_model("hf-hub:tiny/files")
    assert model.digest() == dvt.load_model(tmp_path / "network").digest()
    assert sorted(hub.downloads) == ["config.json", "model.onnx"]
    assert pin_model("hf-hub:tiny/files") == f"hf-hub:tiny/files@{commit}"
    assert dvt.load_model(f"hf-hub:tiny/files@{commit}").digest() == model.digest()
    assert len(hub.downloads) == 2
    assert checkpoint_folder("hf-hub:tiny/files") is None, "the hub's cache is not written to"


def test_a_revision_is_a_branch_or_a_commit_and_a_pinned_one_stays(
    hub: SmallHub, tmp_path: Path
) -> None:
    repository = hub.repository("tiny/net")
    first = repository.commit(network_files(tmp_path / "a", 1))
    old = repository.commit(network_files(tmp_path / "b", 2), "old")
    pinned = pin_model("hf-hub:tiny/net")
    digest = dvt.load_model(pinned).digest()
    second = repository.commit(network_files(tmp_path / "c", 3))
    assert pinned == f"hf-hub:tiny/net@{first}"
    assert dvt.load_model(pinned).digest() == digest
    assert pin_model("hf-hub:tiny/net") == f"hf-hub:tiny/net@{second}"
    assert pin_model("hf-hub:tiny/net@old") == f"hf-hub:tiny/net@{old}"
    digests = {dvt.load_model(f"hf-hub:tiny/net@{name}").digest() for name in ("main", "old")}
    assert len(digests | {digest}) == 3


def test_a_continued_run_keeps_the_commit_unless_it_names_a_revision() -> None:
    pinned = f"hf-hub:a/b@{'0' * 40}"
    assert same_model("hf-hub:a/b", pinned) == pinned
    for other in ("hf-hub:a/b@main", "hf-hub:a/c", "shapes", "local-dir:a/b"):
        assert same_model(other, pinned) == other
    assert same_model("hf-hub:a/b", "shapes") == "hf-hub:a/b"


def test_offline_the_cache_serves_branches_and_commits(
    hub: SmallHub, files: dict[str, bytes], environment: Environment
) -> None:
    commit = hub.repository("tiny/net").commit(files)
    digest = dvt.load_model("hf-hub:tiny/net").digest()
    hub.repositories.clear()
    environment(HF_HUB_OFFLINE="1")
    for source in ("hf-hub:tiny/net", f"hf-hub:tiny/net@{commit}"):
        assert dvt.load_model(source).digest() == digest
    assert pin_model("hf-hub:tiny/net") == f"hf-hub:tiny/net@{commit}"
    said = refusal("hf-hub:tiny/other")
    assert said.startswith("model: hf-hub:tiny/other: not in the cache, and the hub cannot be re")
    assert "HF_HUB_OFFLINE" in said
    environment(HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:1")
    assert dvt.load_model("hf-hub:tiny/net").digest() == digest


def test_private_and_gated_models_need_a_token(
    hub: SmallHub, files: dict[str, bytes], environment: Environment
) -> None:
    hub.repository("tiny/private", is_private=True).commit(files)
    hub.repository("tiny/gated", is_gated=True).commit(files)
    assert refusal("hf-hub:tiny/private") == (
        "model: hf-hub:tiny/private: no such repository, or a private one; for a private one, set "
        "HF_TOKEN to a token that may read it"
    )
    assert refusal("hf-hub:tiny/gated") == (
        "model: hf-hub:tiny/gated: access is restricted; accept its terms on the hub and set "
        "HF_TOKEN"
    )
    environment(HF_TOKEN=TOKEN)
    for name in ("private", "gated"):
        assert dvt.load_model(f"hf-hub:tiny/{name}").label_names == tuple("abcde")


CONVNEXT = {"architecture": "convnext_tiny", "num_classes": 5}
CONVNEXT |= {
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }
}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("no/such", "model: hf-hub:no/such: no such repository, or a private one"),
        ("tiny/net@v9", "model: hf-hub:tiny/net@v9: has no revision 'v9'"),
        ("tiny/net@", "model: must be hf-hub:org/name or hf-hub:org/name@revision (hf-hub:tiny/n"),
        ("../../etc", "model: must be hf-hub:org/name"),
        ("a/b/c", "model: must be hf-hub:org/name"),
        ("tiny/card", "model: hf-hub:tiny/card: has no config.json"),
        ("tiny/bin", "model: hf-hub:tiny/bin: has no model.safetensors, .onnx or .pt2; pytorch_mo"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_anything_large_is_downloaded(
    source: str, said: str, hub: SmallHub, files: dict[str, bytes]
) -> None:
    hub.repository("tiny/net").commit(files)
    hub.repository("tiny/card").commit({"README.md": b"# A card"})
    hub.repository("tiny/bin").commit({"config.json": b"{}", "pytorch_model.bin": b""})
    assert refusal(f"hf-hub:{source}").startswith(said)
    assert set(hub.downloads) <= {"config.json"}


def test_networks_that_are_not_built_in_say_how_to_bring_them(hub: SmallHub) -> None:
    config = json.dumps(CONVNEXT).encode()
    hub.repository("timm/convnext").commit({"config.json": config, "model.safetensors": b"x" * 99})
    said = refusal("hf-hub:timm/convnext")
    assert "must be vit… or deit… for a file of weights (got 'convnext_tiny')" in said
    assert said.endswith("torch.export, see docs/bring-your-own-model.md")
    assert hub.downloads == ["config.json"]


def test_a_checkpoint_of_this_project_may_be_on_the_hub(
    hub: SmallHub, tiny_cascade: Callable[..., dvt.Cascade], tmp_path: Path
) -> None:
    model = tiny_cascade(sides=(3,))
    dvt.save_model(model, tmp_path / "model")
    content = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    hub.repository("own/dvt").commit(content)
    assert dvt.load_cascade("hf-hub:own/dvt").digest() == model.digest()


def test_a_cascade_with_members_in_files_may_be_on_the_hub(hub: SmallHub, tmp_path: Path) -> None:
    """In the cache, files are links to a folder beside the commit's."""
    places = ("members/1-small", "members/2-large")
    for seed, place in enumerate(places):
        write_onnx(tmp_path / place, onnx_model(TinyNet(seed)), labels=list("abcde"))
    members = [{"source": f"{place}/model.onnx"} for place in places]
    config = {"kind": "members", "name": "pair", "members": members, "exits": [{}, {}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "labels.json").write_text(json.dumps(list("abcde")))
    (tmp_path / "groups.json").write_text(json.dumps({"vowel": ["a", "e"]}))
    for name in ("held_out.safetensors", "group_held_out.safetensors"):
        (tmp_path / name).write_bytes(b"exits")
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    hub.repository("own/pair").commit(
        {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in paths}
    )
    model = dvt.load_model("hf-hub:own/pair")
    assert model.digest() == dvt.load_model(tmp_path).digest()
    assert model.groups.names == ("vowel",)
    for path in (
        calibration_set_path("hf-hub:own/pair"),
        calibration_set_path("hf-hub:own/pair", "group"),
    ):
        assert path.read_bytes() == b"exits"


def test_without_the_extra_the_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_(name: str, *args: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return original(name, *args)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", import_)
    assert refusal("hf-hub:a/b").endswith("needs the extra hub (pip install 'dvt-pipeline[hub]')")


def test_a_folder_may_be_named_as_timm_does(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files
    monkeypatch.chdir(tmp_path)
    assert find_model("local-dir:network") == Path("network")
    assert pin_model("local-dir:network") == str(tmp_path / "network")
    assert dvt.load_model("local-dir:network").digest() == dvt.load_model("network").digest()
    assert refusal("local-dir:none").startswith("model: 'local-dir:none' not found; allowed are")
