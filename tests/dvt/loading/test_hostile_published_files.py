"""A damaged or hostile `.pth.tar` is refused in one line, and runs no code."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dvt
from tests.dvt.loading.refusals import refusal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stranger.pth.tar"


@pytest.fixture(scope="module")
def weights(published_layout: Callable[..., dict[str, Tensor]]) -> dict[str, Tensor]:
    with torch.device("meta"):
        model = dvt.create_model("dvt_t2t_vit_12")
    return published_layout(model)


class Code:
    """Creates a file if it is unpickled without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.marker), "w")


# torch's warning about pickles that PyTorch did not write; the message covers it.
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")

WRITERS: dict[str, Callable[[object, Path], None]] = {
    "zip": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "plain pickle": lambda content, path: _pickle(content, path, 4),
    "plain pickle, protocol 2": lambda content, path: _pickle(content, path, 2),
}


def _pickle(content: object, path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps(content, protocol=protocol))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("place", ["model_state_dict", "flops"])
def test_code_in_a_file_is_refused_and_does_not_run(
    writer: str, place: str, path: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    content = {"model_state_dict": {}, place: {"weight": Code(marker)}}
    WRITERS[writer](content, path)
    # torch reads no plain pickle of protocol 4, and so does not find the code.
    reason = "truncated, damaged" if writer == "plain pickle" else "refused, it holds pickled code"
    assert reason in refusal(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Code(marker))).close()
    assert marker.exists(), "the trap works where pickles are trusted"


@pytest.mark.parametrize("writer", ["zip", "legacy"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(
    writer: str, share: float, path: Path, weights: dict[str, Tensor]
) -> None:
    WRITERS[writer]({"model_state_dict": weights}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "truncated" in refusal(path)


def test_the_first_byte_alone_is_refused(path: Path) -> None:
    WRITERS["legacy"]({"model_state_dict": {}}, path)
    path.write_bytes(path.read_bytes()[:1])
    assert "truncated" in refusal(path)


@pytest.mark.parametrize("content", ["", "404: Not Found", "<!DOCTYPE html>\n<html>", "a\nb\n"])
def test_a_text_or_empty_file_is_reported_as_not_a_checkpoint(content: str, path: Path) -> None:
    """A failed download is not an attack: the message must not mention code."""
    path.write_text(content, encoding="utf-8")
    message = refusal(path)
    assert "not a PyTorch checkpoint" in message
    assert "code" not in message


FIGURES = {"lists": [0.5, 1.5], "numpy": np.array([0.5, 1.5])}


@pytest.mark.parametrize("figures", FIGURES)
def test_bytes_changed_at_random_never_raise_anything_else(figures: str, path: Path) -> None:
    """Harmless changes leave a file that lacks nearly every key."""
    random = np.random.default_rng(0)
    content = {"model_state_dict": {"normal_token.head.weight": torch.zeros(10, 256)}}
    WRITERS["legacy"](content | {"flops": FIGURES[figures]}, path)
    intact = path.read_bytes()
    for _ in range(300):
        changed = bytearray(intact)
        for place, value in zip(random.integers(0, 900, 3), random.bytes(3), strict=True):
            changed[place] = value
        path.write_bytes(changed)
        with pytest.raises(dvt.CheckpointError):
            dvt.load_model(path)


@pytest.mark.parametrize(
    "content", [{"weights": {}}, {"model_state_dict": [1, 2]}, [1, 2], torch.zeros(3)]
)
def test_a_file_without_a_state_dict_is_refused(content: object, path: Path) -> None:
    torch.save(content, path)
    assert refusal(path) == (
        "has no 'model_state_dict', 'state_dict_ema', 'state_dict', 'model' and is no state "
        "dict; not a checkpoint that dvt reads"
    )


def replace(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(weights: dict[str, Any]) -> None:
        weights[key] = value

    return change


BIAS = "less_token.head.bias"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop(BIAS), r"key 'stages\.1\.head\.bias' is missing"),
        (
            lambda weights: weights.pop("normal_token.head.weight"),
            r"key 'normal_token\.head\.weight': missing or not 2-dimensional",
        ),
        (
            replace(BIAS, torch.zeros(7)),
            r"'stages\.1\.head\.bias' must have shape \[1000\] \(got \[7\]\)",
        ),
        (
            replace(BIAS, torch.full((1000,), torch.nan)),
            r"'stages\.1\.head\.bias' holds values that are not finite numbers",
        ),
        (
            replace(BIAS, torch.full((1000,), torch.inf)),
            r"'stages\.1\.head\.bias' holds values that are not finite numbers",
        ),
        (
            replace(BIAS, torch.zeros(1000, dtype=torch.int64)),
            r"'stages\.1\.head\.bias' holds values that are not finite numbers",
        ),
        (replace(BIAS, [0.0] * 1000), r"entry 'less_token\.head\.bias' .* is not a tensor"),
        (replace("less_token.extra", torch.zeros(1)), r"key 'stages\.1\.extra' is unknown"),
        (
            replace("huge_token.head.bias", torch.zeros(1)),
            r"key 'huge_token\.head\.bias': not of a published cascade",
        ),
        (lambda weights: weights.clear(), r"keys: neither those of a cascade \(less_less_token"),
    ],
)
def test_wrong_keys_and_values_are_named(
    change: Callable[[dict[str, Any]], object],
    said: str,
    path: Path,
    weights: dict[str, Tensor],
) -> None:
    content: dict[str, Any] = dict(weights)
    change(content)
    torch.save({"model_state_dict": content}, path)
    assert re.match(said, refusal(path))


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(1000, 256).to_sparse(),
        torch.zeros(1000, 256).to(torch.float8_e4m3fn),
        torch.zeros(1000, 256, device="meta"),
        torch.zeros(1000, 256, dtype=torch.complex64),
    ],
    ids=["sparse", "float8", "meta", "complex"],
)
def test_tensors_of_an_exotic_kind_are_refused(
    value: Tensor, path: Path, weights: dict[str, Tensor]
) -> None:
    torch.save({"model_state_dict": weights | {"less_token.head.weight": value}}, path)
    assert "'stages.1.head.weight'" in refusal(path)


def test_malformed_figures_are_ignored(path: Path, weights: dict[str, Tensor]) -> None:
    figures = {"anytime_classification": "seventy", "dynamic_threshold": 3}
    torch.save({"model_state_dict": weights, **figures}, path)
    assert dvt.load_model(path).calibration == dvt.Calibration()
