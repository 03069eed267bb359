"""The training loop learns, is reproducible, and trains the right weights."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

import dvt
from dvt.config import CascadeConfig
from dvt.inference import exit_scores
from dvt.preprocess import normalise, pixels_to_unit
from dvt.training import EpochResult, Trainer, TrainingRecipe

Data = tuple[NDArray[np.uint8], NDArray[np.int64]]


PLAIN = TrainingRecipe(
    epochs=8,
    batch_size=16,
    learning_rate=3e-3,
    warmup_epochs=1,
    horizontal_flip=False,
    scale_jitter=0.0,
    brightness_jitter=0.0,
)


def train(
    model: dvt.Cascade, data: Data, recipe: TrainingRecipe, results: list[EpochResult] | None = None
) -> dvt.Cascade:
    trainer = Trainer(model, *data, recipe)
    trainer.run(on_epoch=(results if results is not None else []).append)
    return trainer.trained()


@pytest.fixture(scope="module")
def data() -> Data:
    """64 images of noise, half of them of class 1; only memorising separates them."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (64, 24, 24, 3), dtype=np.uint8), np.arange(64) % 2


@pytest.fixture
def model(tiny_config: Callable[..., CascadeConfig]) -> dvt.Cascade:
    return fresh(tiny_config(num_classes=2))


def fresh(config: CascadeConfig) -> dvt.Cascade:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return dvt.Cascade(config)


def test_a_tiny_cascade_memorises_64_images(model: dvt.Cascade, data: Data) -> None:
    results: list[EpochResult] = []
    trained = train(model, data, PLAIN.model_copy(update={"epochs": 20}), results)
    assert results[-1].loss < 0.5 * results[0].loss
    assert not trained.training
    scores = exit_scores(trained.make_executor(), data[0])
    accuracies = (scores.argmax(axis=2) == data[1]).mean(axis=1)
    assert accuracies.min() > 0.9, "every exit learns"


def test_the_same_seed_gives_the_same_weights(model: dvt.Cascade, data: Data) -> None:
    recipe = TrainingRecipe(epochs=2, batch_size=16)
    weights = []
    for seed in (3, 3, 4):
        twin = train(copy.deepcopy(model), data, recipe.model_copy(update={"seed": seed}))
        weights.append(torch.cat([value.flatten() for value in twin.state_dict().values()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("kind", ["learned", "sinusoid"])
def test_everything_but_sinusoid_positions_is_trained(
    kind: str, data: Data, tiny_config: Callable[..., CascadeConfig]
) -> None:
    model = fresh(tiny_config(num_classes=2, position_embedding=kind))
    fixed = {f"stages.{stage}.positions" for stage in range(3)} if kind == "sinusoid" else set()
    assert untrained(model, data) == fixed


def test_random_features_of_the_t2t_tokenizer_are_not_trained(
    data: Data, tiny_config: Callable[..., CascadeConfig]
) -> None:
    model = fresh(tiny_config("t2t", sides=(2, 3), num_classes=2, qkv_bias=False))
    pixels = data[0].repeat(2, axis=1).repeat(2, axis=2)
    assert untrained(model, (pixels, data[1])) == {
        f"stages.{stage}.tokenizer.performer{number}.random_features"
        for stage in range(2)
        for number in (1, 2)
    }


def untrained(model: dvt.Cascade, data: Data) -> set[str]:
    """Keys that two epochs do not change.

    Features reused in a stage's last block reach its image tokens, but no more its class token.
    In the last stage these are not read, so that network has no gradient, by DVT's design; in
    the others the gradient is of the size of Adam's epsilon at first.
    """
    before = copy.deepcopy(model.state_dict())
    trained = train(model, data, PLAIN.model_copy(update={"epochs": 2}))
    last = f"blocks.{model.config.depth - 1}.feature_reuse."
    return {
        key
        for key, value in trained.state_dict().items()
        if last not in key and torch.equal(value, before[key])
    }


def test_every_epoch_is_reported_with_the_rate_at_its_end(model: dvt.Cascade, data: Data) -> None:
    results: list[EpochResult] = []
    recipe = PLAIN.model_copy(update={"epochs": 4, "final_learning_rate": 1e-5})
    train(model, data, recipe, results)
    assert [result.epoch for result in results] == [1, 2, 3, 4]
    rates = [result.learning_rate for result in results]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(3e-3)
    assert rates[-1] == pytest.approx(1e-5)
    assert all(result.seconds > 0 for result in results)


def test_scores_of_all_exits_do_not_depend_on_the_batch_size(
    model: dvt.Cascade, data: Data
) -> None:
    scores = exit_scores(model.make_executor(), data[0], batch_size=64)
    assert scores.shape == (3, 64, 2)
    assert scores.dtype == np.float32
    assert scores.sum(axis=2) == pytest.approx(np.ones((3, 64)), abs=1e-5)
    assert exit_scores(model.make_executor(), data[0], batch_size=7) == pytest.approx(
        scores, abs=1e-5
    )
    images = normalise(pixels_to_unit(torch.from_numpy(data[0][:5])), model.config.preprocess)
    with torch.inference_mode():
        by_hand = torch.stack([logits.softmax(dim=-1) for logits in model.eval()(images)])
    assert scores[:, :5] == pytest.approx(by_hand.numpy(), abs=1e-5)


def test_normalising_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    """A grey of 51 is 0.2; (0.2 - 0.485) / 0.229 = -1.24454."""
    pixels = torch.full((1, 4, 4, 3), 51, dtype=torch.uint8)
    images = normalise(pixels_to_unit(pixels), dvt.Preprocess())
    assert images.shape == (1, 3, 4, 4)
    assert images[0, :, 0, 0].tolist() == pytest.approx([-1.24454, -1.14286, -0.91556], abs=1e-5)


@pytest.mark.parametrize(
    "field", [{"epochs": 0}, {"learning_rate": 0.0}, {"label_smoothing": 1.0}, {"epoch": 3}]
)
def test_a_recipe_out_of_range_is_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        TrainingRecipe.model_validate(field)


@pytest.mark.parametrize("tokenizer", ["patch", "t2t", "conv"])
def test_gradients_in_mixed_precision_equal_float32_up_to_rounding(
    tokenizer: str,
    tiny_cascade: Callable[..., dvt.Cascade],
    random_images: Callable[..., torch.Tensor],
) -> None:
    """Every weight gets a gradient, except the last block's feature reuse, which is not read."""
    model = tiny_cascade(tokenizer=tokenizer).train()
    images = random_images(4, model.config.image_size)
    gradients = []
    for enabled in (False, True):
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = model(images)
        torch.stack(logits).float().square().mean().backward()
        found = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        unread = {name for name, gradient in found.items() if gradient is None}
        assert all(name.startswith("stages.2.blocks.1.feature_reuse.") for name in unread)
        gradients.append(torch.cat([g.flatten() for g in found.values() if g is not None]))
    exact, rounded = gradients
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.98


@pytest.mark.parametrize(
    ("optimizer", "learning_rate"), [("adamw", 3e-3), ("sgd", 0.03), ("muon", 1e-2)]
)
def test_every_optimizer_learns_dark_from_light_with_stems(
    optimizer: str, learning_rate: float, data: Data, tiny_config: Callable[..., CascadeConfig]
) -> None:
    """The trained model is plain, with batch normalisation folded."""
    pixels = (data[0] // 2 + 100 * data[1].astype(np.uint8)[:, None, None, None]).astype(np.uint8)
    changes = {"optimizer": optimizer, "learning_rate": learning_rate, "ema_decay": 0.8}
    config = tiny_config("conv", num_classes=2)
    trained = train(fresh(config), (pixels, data[1]), PLAIN.model_copy(update=changes))
    scores = exit_scores(trained.make_executor(), pixels)
    assert (scores.argmax(axis=2) == data[1]).mean(axis=1).min() > 0.9
    assert trained.state_dict().keys() == dvt.Cascade(config).state_dict().keys()


def test_all_augmentation_at_once_trains(model: dvt.Cascade, data: Data) -> None:
    recipe = TrainingRecipe(
        epochs=2,
        batch_size=16,
        shift=2,
        erase=0.3,
        mixup=0.2,
        cutmix=1.0,
        mix_until=0.6,
        drop_path=0.2,
        label_smoothing=0.1,
    )
    results: list[EpochResult] = []
    train(model, data, recipe, results)
    assert all(np.isfinite(result.loss) for result in results)
