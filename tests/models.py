"""Golden figures of the published code, and cascades small enough to run in milliseconds."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import dvt
from dvt.config import CascadeConfig, Preprocess, StemConv, TokenGrid
from dvt.loading.state_dict_adapter import to_own_names
from dvt.token_grids import patch_grid, t2t_grid
from tests.golden import fill

GOLDEN = Path(__file__).parent / "golden"
PREFIXES = ("less_less_token", "less_token", "normal_token")

Shapes = dict[str, tuple[int, ...]]


@pytest.fixture(scope="session")
def golden_shapes() -> dict[str, Shapes]:
    """Published keys and shapes of each backbone."""
    text = (GOLDEN / "state_dict_keys.json").read_text(encoding="utf-8")
    return {
        backbone: {key: tuple(shape) for key, shape in shapes.items()}
        for backbone, shapes in json.loads(text).items()
    }


@pytest.fixture(scope="session")
def golden_weights(
    golden_shapes: dict[str, Shapes],
) -> Callable[[str], dict[str, Tensor]]:
    """The filled state dict of one backbone, under its published names."""

    def weights(backbone: str) -> dict[str, Tensor]:
        shapes = golden_shapes[backbone]
        return {key: torch.from_numpy(fill.weight(key, shape)) for key, shape in shapes.items()}

    return weights


@pytest.fixture(scope="session")
def golden_images() -> Tensor:
    """The two images behind the golden logits, [2, 3, 224, 224]."""
    return torch.from_numpy(np.stack([fill.image(0), fill.image(1)]))


@pytest.fixture(scope="session")
def golden_logits() -> dict[str, Tensor]:
    """Logits [3 exits, 2 images, 1000] of two backbones."""
    with np.load(GOLDEN / "logits.npz") as file:
        return {backbone: torch.from_numpy(file[backbone]) for backbone in file.files}


@pytest.fixture(scope="session")
def golden_sweep() -> dict[str, Any]:
    """The reference's threshold sweep: `gmacs_per_exit`, and `sweep`, a list of rows."""
    content: dict[str, Any] = json.loads((GOLDEN / "thresholds.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="session")
def golden_scores() -> Callable[[int], tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Scores [3, 2000, 10] and labels [2000] of one seed: 10 to fit, 11 to evaluate."""
    return partial(fill.scores, num_images=2000)


@pytest.fixture(scope="session")
def published_layout(
    golden_shapes: dict[str, Shapes],
) -> Callable[..., dict[str, Tensor]]:
    """A model's state dict under published names; weights without values become zeros.

    The reverse mapping is derived from the golden keys, so no table is repeated here.
    Zeros take one stored value per weight, whatever its shape: a file of 400 KB, not of 90 MB.
    """

    def layout(model: dvt.Cascade, prefixes: tuple[str, ...] = PREFIXES) -> dict[str, Tensor]:
        published_of_own: dict[str, str] = {}
        golden = {"patch": "dvt_deit_small", "t2t": "dvt_t2t_vit_14"}[model.config.tokenizer]
        for key in golden_shapes[golden]:
            prefix, _, rest = key.partition(".")
            if prefix == PREFIXES[-1]:  # the last stage has every kind of weight
                (own,) = to_own_names({key: torch.empty(0)})
                published_of_own[own.removeprefix("stages.0.")] = rest
        state_dict = {}
        for own, value in model.state_dict().items():
            _, index, rest = own.split(".", maxsplit=2)
            key = f"{prefixes[int(index)]}.{published_of_own[rest]}"
            state_dict[key] = torch.zeros(1).expand(value.shape) if value.is_meta else value
        return state_dict

    return layout


_STEM = (StemConv(channels=8, kernel=4, stride=2), StemConv(channels=8, residual=True))


def _conv_grid(image_size: int, size: int) -> TokenGrid:
    """Adjacent windows over the output of `_STEM`, which has half the side."""
    return patch_grid(image_size // 2, size)


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., CascadeConfig]:
    """A complete tiny configuration with changes; `sides` are its token grids."""

    def config(
        tokenizer: str = "patch",
        image_size: int | None = None,
        sides: tuple[int, ...] = (2, 3, 4),
        **changes: Any,
    ) -> CascadeConfig:
        make_grid = {"patch": patch_grid, "t2t": t2t_grid, "conv": _conv_grid}[tokenizer]
        size = image_size or (48 if tokenizer == "t2t" else 24)
        fields: dict[str, Any] = {
            "name": "tiny",
            "tokenizer": tokenizer,
            "image_size": size,
            "grids": tuple(make_grid(size, side) for side in sides),
            "stems": (_STEM,) * len(sides) if tokenizer == "conv" else (),
            "width": 16,
            "depth": 2,
            "num_heads": 2,
            "mlp_ratio": 2.0,
            "num_classes": 5,
            "feature_reuse_hidden": 12,
            "feature_reuse_width": 6,
            "token_width": 8,
            "random_features": 4,
            "preprocess": Preprocess(resize=size),
        }
        return CascadeConfig(**(fields | changes))

    return config


@pytest.fixture(scope="session")
def tiny_cascade(tiny_config: Callable[..., CascadeConfig]) -> Callable[..., dvt.Cascade]:
    """A tiny cascade with random parameters, biases included."""

    def cascade(seed: int = 0, **config: Any) -> dvt.Cascade:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = dvt.Cascade(tiny_config(**config)).eval()
            for parameter in model.parameters():
                parameter.data = torch.randn(parameter.shape) * 0.3
        return model

    return cascade


@pytest.fixture(scope="session")
def random_images() -> Callable[..., Tensor]:
    """Normalised images [count, 3, size, size]."""

    def images(count: int, size: int = 24, seed: int = 1) -> Tensor:
        return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))

    return images
