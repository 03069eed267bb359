"""A saved model loads with the same weights, labels, calibration and digest."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import dvt
from dvt.loading import shipped_models

LABELS = ("ant", "bee", "cow", "dog", "eel")
CALIBRATION = dvt.Calibration(
    thresholds=(0.7, 0.55),
    accuracy_per_exit=(0.5, 0.75, 0.8),
    curve=((0.1, 0.5), (0.3, 0.8)),
    threshold_sweep=((0.2, 0.3), (0.9, 0.8)),
    data="900 held-out images",
)


@pytest.mark.parametrize("tokenizer", ["patch", "t2t", "conv"])
def test_a_model_saved_in_float32_gives_the_same_logits_bit_for_bit(
    tokenizer: str,
    tmp_path: Path,
    tiny_cascade: Callable[..., dvt.Cascade],
    random_images: Callable[..., Tensor],
) -> None:
    model = tiny_cascade(tokenizer=tokenizer)
    model.labels, model.calibration = LABELS, CALIBRATION
    dvt.save_model(model, tmp_path / "new" / "folder")
    loaded = dvt.load_cascade(tmp_path / "new" / "folder")
    assert loaded.config == model.config
    assert (loaded.labels, loaded.calibration) == (LABELS, CALIBRATION)
    assert loaded.thresholds() == (0.7, 0.55, float("-inf"))
    images = random_images(3, model.config.image_size)
    with torch.inference_mode():
        for mine, theirs in zip(model(images), loaded(images), strict=True):
            assert torch.equal(mine, theirs)


def test_a_model_saved_in_float16_is_half_as_large_and_runs_in_float32(
    tmp_path: Path, tiny_cascade: Callable[..., dvt.Cascade]
) -> None:
    model = tiny_cascade()
    dvt.save_model(model, tmp_path / "full")
    dvt.save_model(model, tmp_path / "half", dtype=torch.float16)
    full, half = (
        (tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")
    )
    assert half < 0.6 * full
    loaded = dvt.load_cascade(tmp_path / "half").state_dict()
    for key, value in model.state_dict().items():
        assert loaded[key].dtype == torch.float32
        assert torch.equal(loaded[key], value.half().float()), key


def test_the_weights_file_loads_its_folder(
    tmp_path: Path, tiny_cascade: Callable[..., dvt.Cascade]
) -> None:
    model = tiny_cascade()
    dvt.save_model(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "calibration.json",
    }
    for source in (tmp_path, str(tmp_path), tmp_path / "model.safetensors"):
        assert dvt.load_cascade(source).digest() == model.digest()


def test_saving_over_a_checkpoint_replaces_all_of_it(
    tmp_path: Path, tiny_cascade: Callable[..., dvt.Cascade]
) -> None:
    old, new = tiny_cascade(seed=1), tiny_cascade(seed=2)
    old.labels, old.calibration = LABELS, CALIBRATION
    dvt.save_model(old, tmp_path)
    dvt.save_model(new, tmp_path)
    loaded = dvt.load_cascade(tmp_path)
    assert loaded.digest() == new.digest()
    assert loaded.calibration == dvt.Calibration()
    assert loaded.labels is None


def test_the_digest_is_stable_and_changes_with_weights_and_configuration(
    tmp_path: Path, tiny_cascade: Callable[..., dvt.Cascade]
) -> None:
    model = tiny_cascade()
    digest = model.digest()
    assert len(digest) == 16
    assert digest == tiny_cascade().digest() == model.train().digest()
    dvt.save_model(model, tmp_path)
    assert dvt.load_cascade(tmp_path).digest() == digest
    model.get_parameter("stages.2.head.bias").data[3] += 1e-6
    assert model.digest() != digest
    assert tiny_cascade(name="other").digest() != digest


def test_create_model_changes_only_the_given_fields() -> None:
    preset = dvt.create_model("dvt_tiny_48").config
    changed = dvt.create_model("dvt_tiny_48", num_classes=7, relation_reuse=False).config
    expected = preset.model_copy(update={"num_classes": 7, "relation_reuse": False})
    assert changed == expected
    with pytest.raises(dvt.ConfigError, match=r"^num_classes: .* \(got 1\)$"):
        dvt.create_model("dvt_tiny_48", num_classes=1)


def test_every_shipped_model_loads_and_has_thresholds_and_labels() -> None:
    for name in shipped_models():
        model = dvt.load_model(name)
        assert model.labels is not None, name
        assert len(model.thresholds()) == model.spec.num_stages, name
