"""`predict` follows the exit rule and computes only images that have not exited."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import dvt
from dvt.exits import confidence, scores


@pytest.fixture(params=["patch", "t2t", "conv"])
def model(request: pytest.FixtureRequest, tiny_cascade: Callable[..., dvt.Cascade]) -> dvt.Cascade:
    return tiny_cascade(tokenizer=request.param)


@pytest.fixture
def images(model: dvt.Cascade, random_images: Callable[..., Tensor]) -> Tensor:
    return random_images(13, model.config.image_size)


def full_depth(model: dvt.Cascade, images: Tensor) -> tuple[Tensor, Tensor]:
    """Confidences and labels [exits, B] of all exits."""
    with torch.inference_mode():
        pairs = [confidence(scores(logits)) for logits in model(images)]
    return torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])


def mixed_thresholds(model: dvt.Cascade, images: Tensor) -> tuple[float, float]:
    """Thresholds halfway between two confidences, so that some images take each exit."""
    confidences, _ = full_depth(model, images)
    first = confidences[0].sort().values
    limit = float(first[8:10].mean())
    second = confidences[1][confidences[0] < limit].sort().values
    return limit, float(second[3:5].mean())


def watch(model: dvt.Cascade) -> list[list[int]]:
    """Returns lists that collect the number of images in every forward pass of each stage."""
    sizes: list[list[int]] = [[] for _ in model.stages]

    def hook(stage: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        sizes[[*model.stages].index(stage)].append(len(inputs[0]))

    for stage in model.stages:
        stage.register_forward_hook(hook)
    return sizes


@pytest.mark.parametrize("batch_size", [1, 4, 13, 64])
def test_predict_equals_the_rule_applied_by_hand_at_full_depth(
    batch_size: int, model: dvt.Cascade, images: Tensor
) -> None:
    thresholds = mixed_thresholds(model, images)
    confidences, labels = full_depth(model, images)
    prediction = model.predict(images, thresholds, batch_size=batch_size)
    assert set(prediction.exit_stages.tolist()) == {1, 2, 3}
    for row in range(13):
        stage = next(
            stage
            for stage, limit in enumerate((*thresholds, -math.inf))
            if confidences[stage, row] >= limit
        )
        assert prediction.exit_stages[row] == stage + 1
        assert prediction.labels[row] == labels[stage, row]
        assert prediction.confidences[row].item() == pytest.approx(
            confidences[stage, row].item(), abs=1e-6
        )


def test_images_that_exited_are_not_computed(model: dvt.Cascade, images: Tensor) -> None:
    """13 images in batches of 4: 4 passes; 4 exit, 9 left: 3 passes; 5 exit, 4 left: 1 pass."""
    thresholds = mixed_thresholds(model, images)
    sizes = watch(model)
    prediction = model.predict(images, thresholds, batch_size=4)
    assert prediction.exit_stages.bincount().tolist() == [0, 4, 5, 4]
    assert sizes == [[4] * 4, [4] * 3, [4]], "shorter passes are padded"


@pytest.mark.parametrize(
    ("thresholds", "exit_stage", "passes"),
    [((0.0, 0.0), 1, [4, 0, 0]), ((2.0, 0.0), 2, [4, 4, 0]), ((2.0, 2.0), 3, [4, 4, 4])],
)
def test_thresholds_that_no_image_or_every_image_reaches(
    thresholds: tuple[float, float],
    exit_stage: int,
    passes: list[int],
    model: dvt.Cascade,
    images: Tensor,
) -> None:
    sizes = watch(model)
    prediction = model.predict(images, thresholds, batch_size=4)
    assert prediction.exit_stages.tolist() == [exit_stage] * 13
    assert [len(stage) for stage in sizes] == passes
    _, labels = full_depth(model, images)
    assert torch.equal(prediction.labels, labels[exit_stage - 1])


def test_a_prediction_does_not_depend_on_the_other_images(
    model: dvt.Cascade, images: Tensor, random_images: Callable[..., Tensor]
) -> None:
    """Alone, among others, in another order, and beside images that exit elsewhere."""
    thresholds = mixed_thresholds(model, images)
    together = model.predict(images, thresholds, batch_size=5)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(4))
    shuffled = model.predict(images[order], thresholds, batch_size=5)
    strangers = random_images(9, model.config.image_size, seed=5)
    for row in range(13):
        place = (order == row).nonzero().item()
        alone = model.predict(images[row : row + 1], thresholds, batch_size=5)
        company = torch.cat([strangers[:row], images[row : row + 1], strangers[row:]])
        among = model.predict(company, thresholds, batch_size=5)
        for other, index in ((alone, 0), (shuffled, int(place)), (among, min(row, 9))):
            difference = other.confidences[index] - together.confidences[row]
            assert abs(difference.item()) <= 1e-6
            assert torch.equal(other.labels[index], together.labels[row])
            assert torch.equal(other.exit_stages[index], together.exit_stages[row])


def test_the_row_in_the_batch_changes_a_confidence_by_rounding_only(
    random_images: Callable[..., Tensor],
) -> None:
    """Attention matrices of odd sides have another alignment in each row of a batch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = dvt.create_model("dvt_tiny_48")
    image, strangers = random_images(1, 48), random_images(15, 48, seed=2)
    confidences = set()
    for row in range(16):
        company = torch.cat([strangers[:row], image, strangers[row:]])
        prediction = model.predict(company, (2.0, 2.0), batch_size=16)
        confidences.add(prediction.confidences[row].item())
    assert max(confidences) - min(confidences) < 1e-6


def test_no_images_give_no_predictions(model: dvt.Cascade, images: Tensor) -> None:
    prediction = model.predict(images[:0], (0.5, 0.5))
    assert [
        len(part) for part in (prediction.labels, prediction.confidences, prediction.exit_stages)
    ] == [0] * 3


@pytest.mark.parametrize("shape", [(3, 24, 24), (2, 1, 24, 24), (2, 3, 24, 25), (2, 24, 24, 3)])
def test_images_of_another_shape_are_refused_in_one_line(
    shape: tuple[int, ...], tiny_cascade: Callable[..., dvt.Cascade]
) -> None:
    with pytest.raises(dvt.ModelError) as caught:
        tiny_cascade().predict(torch.zeros(shape), (0.5, 0.5))
    assert str(caught.value) == f"images: must be [B, 3, 24, 24] (got {list(shape)})"


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused_in_one_line(
    batch_size: int, tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> None:
    with pytest.raises(dvt.ModelError, match=rf"^batch_size: .* \(got {batch_size}\)$"):
        tiny_cascade().predict(random_images(2), (0.5, 0.5), batch_size=batch_size)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_an_image_that_is_not_finite_is_refused(
    poison: float, tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> None:
    """Its confidence is NaN, which reaches no threshold, not even the last."""
    images = random_images(4)
    images[2, 0, 3, 3] = poison
    with pytest.raises(dvt.ModelError, match=r"^confidence: is not a number.*$"):
        tiny_cascade().predict(images, (2.0, 2.0), batch_size=2)


def test_the_default_thresholds_are_the_calibrated_ones(
    tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> None:
    model, images = tiny_cascade(), random_images(4)
    with pytest.raises(
        dvt.ModelError, match=r"^thresholds: tiny has no default thresholds; give 2 values$"
    ):
        model.predict(images)
    model.calibration = dvt.Calibration(thresholds=(2.0, 0.0))
    assert model.predict(images).exit_stages.tolist() == [2] * 4
    assert model.predict(images, (0.0, 0.0)).exit_stages.tolist() == [1] * 4
