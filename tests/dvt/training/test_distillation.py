"""Distillation of adapters: it learns, and resumes bit for bit; its views and its recipe."""

import io
from typing import Any, Final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from dvt.members.adapter import Adapter
from dvt.training.distillation import AdapterTrainer, DistillationRecipe, NetworkAtSize, downsized
from tests.photographs import photograph

LITE0: Final = "efficientnet_lite0"
RECIPE = DistillationRecipe(
    students=(NetworkAtSize(network=LITE0, image_size=32),),
    teachers=(NetworkAtSize(network=LITE0, image_size=64),),
    picture_size=72,
    epochs=2,
    batch_size=4,
    warmup_steps=1,
)


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    return np.stack([np.asarray(photograph(72, 72, seed)) for seed in range(12)])


def finished(trainer: AdapterTrainer, pictures: NDArray[np.uint8]) -> Adapter:
    trainer.run(lambda: trainer.agreement(pictures))
    (adapter,) = trainer.adapters()
    return adapter


def test_an_interrupted_training_ends_with_the_same_bits(pictures: NDArray[np.uint8]) -> None:
    expected = finished(AdapterTrainer(RECIPE, pictures, 1), pictures)
    for num_steps in (1, 3, 4):
        trainer = AdapterTrainer(RECIPE, pictures, 1)

        def stop(trainer: AdapterTrainer = trainer, num_steps: int = num_steps) -> None:
            if trainer.step == num_steps:
                raise StoppedError

        with pytest.raises(StoppedError):
            trainer.run(lambda trainer=trainer: trainer.agreement(pictures), on_step=stop)  # type: ignore[misc]
        content = io.BytesIO()
        torch.save(trainer.state_dict(), content)
        content.seek(0)
        resumed = AdapterTrainer(RECIPE, pictures, 1)
        state: dict[str, Any] = torch.load(content, weights_only=True)
        resumed.load_state_dict(state)
        adapter = finished(resumed, pictures)
        assert torch.equal(adapter.scale, expected.scale)
        assert torch.equal(adapter.shift, expected.shift)


def test_the_student_comes_closer_to_its_teacher(pictures: NDArray[np.uint8]) -> None:
    recipe = RECIPE.model_copy(update={"epochs": 8, "learning_rate": 5e-3, "smallest_view": 1.0})
    trainer = AdapterTrainer(recipe, pictures, 1)
    finished(trainer, pictures)
    losses = [result.loss for result in trainer.results]
    assert losses[-1] < 0.8 * losses[0]
    assert trainer.results[-1].learning_rate < 0.01 * recipe.learning_rate


def test_a_student_that_is_its_teacher_agrees_with_it(pictures: NDArray[np.uint8]) -> None:
    student = NetworkAtSize(network=LITE0, image_size=64)
    trainer = AdapterTrainer(RECIPE.model_copy(update={"students": (student,)}), pictures, 1)
    assert trainer.agreement(pictures) == (1.0,)


def test_downsizing_keeps_even_areas_and_size() -> None:
    pixels = torch.full((2, 72, 60, 3), 200, dtype=torch.uint8)
    assert torch.equal(downsized(pixels, 32), torch.full((2, 32, 32, 3), 200, dtype=torch.uint8))
    square = torch.randint(0, 255, (1, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(downsized(square, 32), square)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"students": []}, "students"),
        ({"students": [{"network": LITE0, "image_size": 96}]}, "must be at least 96"),
        ({"picture_size": 48}, "at most 48, picture_size"),
        ({"students": [{"network": "resnet", "image_size": 32}]}, "network"),
        (
            {"teachers": [{"network": LITE0, "image_size": size} for size in (64, 48)]},
            "must all have the same image_size",
        ),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DistillationRecipe.model_validate(RECIPE.model_dump() | changes)
