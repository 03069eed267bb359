"""float16 training: the loss is scaled, and an overflowing step is skipped."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch

import dvt
from dvt.config import CascadeConfig
from dvt.device import autocast_dtype
from dvt.training import Trainer, TrainingRecipe

RECIPE = TrainingRecipe(epochs=4, batch_size=8, learning_rate=5e-3, optimizer="muon")


@pytest.fixture
def make_trainer(
    tiny_config: Callable[..., CascadeConfig], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Trainer]:
    """Trainers on the CPU, in the precision of an older GPU."""
    monkeypatch.setattr("dvt.training.trainer.autocast_dtype", lambda device: torch.float16)
    labels = np.arange(32) % 2
    pixels = np.random.default_rng(0).integers(0, 156, (32, 24, 24, 3), dtype=np.uint8)
    pixels += (labels * 100).astype(np.uint8).reshape(-1, 1, 1, 1)
    torch.manual_seed(0)
    model = dvt.Cascade(tiny_config("conv", num_classes=2))
    return lambda: Trainer(copy.deepcopy(model), pixels, labels, RECIPE)


def test_a_gpu_without_bfloat16_uses_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert autocast_dtype(torch.device("cuda")) == torch.float16


def test_training_learns_and_restores_the_loss_scale(make_trainer: Callable[[], Trainer]) -> None:
    whole = make_trainer()
    whole.run()
    assert whole.results[-1].loss < whole.results[0].loss
    stopped, resumed = make_trainer(), make_trainer()

    def hand_over() -> None:
        if stopped.step == 6:
            resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))

    stopped.run(on_step=hand_over)
    resumed.run()
    assert [r.loss for r in resumed.results] == [r.loss for r in whole.results]
    assert resumed.state_dict()["scaler"] == whole.state_dict()["scaler"]


def test_an_overflowing_step_changes_no_weight_and_lowers_the_scale(
    make_trainer: Callable[[], Trainer],
) -> None:
    trainer = make_trainer()
    state = trainer.state_dict()
    state["scaler"]["scale"] = 1e38
    before = copy.deepcopy(state["model"])
    trainer.load_state_dict(state)
    scales: list[float] = []

    def look() -> None:
        if not scales:
            for name, value in trainer.state_dict()["model"].items():
                if "running" not in name and "num_batches" not in name:
                    assert torch.equal(value, before[name]), name
        scales.append(trainer.state_dict()["scaler"]["scale"])

    trainer.run(on_step=look)
    assert scales[0] == pytest.approx(0.5e38)
    assert all(value.isfinite().all() for value in trainer.trained().state_dict().values())
