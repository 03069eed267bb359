"""A training interrupted after any step ends with the same bits."""

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import dvt
from dvt.config import CascadeConfig
from dvt.training import EpochResult, Trainer, TrainingRecipe

RECIPE = TrainingRecipe(
    epochs=3,
    batch_size=8,
    optimizer="muon",
    learning_rate=5e-3,
    warmup_epochs=0.5,
    ema_decay=0.9,
    drop_path=0.2,
    mixup=0.2,
    cutmix=1.0,
    mix_until=0.5,
)


class Stopped(Exception):
    pass


def stopped_after(trainer: Trainer, num_steps: int) -> dict[str, Any]:
    """The state after that many steps, saved and loaded."""

    def stop() -> None:
        if trainer.step == num_steps:
            raise Stopped

    with pytest.raises(Stopped):
        trainer.run(checksum, on_step=stop)
    content = io.BytesIO()
    torch.save(trainer.state_dict(), content)
    content.seek(0)
    state: dict[str, Any] = torch.load(content, weights_only=True)
    return state


def checksum(model: dvt.Cascade) -> tuple[float, ...]:
    return (float(model.state_dict()["stages.0.head.weight"].double().sum()),)


def curve(trainer: Trainer) -> list[tuple[float, ...]]:
    return [(r.epoch, r.loss, r.learning_rate, *r.accuracy_per_exit) for r in trainer.results]


@pytest.mark.parametrize("tokenizer", ["patch", "conv"])
def test_interruptions_change_neither_curve_nor_weights(
    tokenizer: str, tiny_config: Callable[..., CascadeConfig]
) -> None:
    """Five steps an epoch: stopped in the first, at the end of the second, in the third."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (43, 24, 24, 3), dtype=np.uint8)
    labels = np.arange(43) % 5
    torch.manual_seed(0)
    model = dvt.Cascade(tiny_config(tokenizer))
    whole = Trainer(copy.deepcopy(model), pixels, labels, RECIPE)
    whole.run(checksum)
    assert len(whole.results) == 3

    state: dict[str, Any] | None = None
    for num_steps in (3, 10, 14, None):
        trainer = Trainer(copy.deepcopy(model), pixels, labels, RECIPE)
        torch.manual_seed(num_steps or 0)  # nothing depends on the global generator
        if state is not None:
            trainer.load_state_dict(state)
        if num_steps is None:
            trainer.run(checksum)
        else:
            state = stopped_after(trainer, num_steps)
    assert curve(trainer) == curve(whole)
    for key, value in whole.trained().state_dict().items():
        assert torch.equal(trainer.trained().state_dict()[key], value), key


def test_a_finished_training_does_nothing(
    tiny_config: Callable[..., CascadeConfig],
) -> None:
    pixels, labels = np.zeros((8, 24, 24, 3), np.uint8), np.zeros(8, np.int64)
    model = dvt.Cascade(tiny_config())
    trainer = Trainer(copy.deepcopy(model), pixels, labels, RECIPE)
    trainer.run()
    again = Trainer(model, pixels, labels, RECIPE)
    again.load_state_dict(trainer.state_dict())
    results: list[EpochResult] = []
    again.run(on_epoch=results.append)
    assert again.is_finished
    assert not results
