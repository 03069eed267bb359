"""The cascade of one actor, without Ray."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt import Calibration, Cascade, CascadeConfig
from dvt.config import Preprocess
from dvt.exits import confidence
from dvt.exits import scores as exit_scores
from dvt.inference import TorchExecutor
from dvt.labels import ClassGroups
from dvt.preprocess import normalise, pixels_to_unit
from dvt.stage import Stage
from dvt.token_grids import patch_grid
from pipeline.cascade.batches import Failure, ForwardedBatch, Predictions
from pipeline.cascade.runner import CascadeRunner

BATCH = 8


@pytest.fixture(scope="module")
def model() -> Cascade:
    torch.manual_seed(0)
    config = CascadeConfig(
        name="tiny",
        tokenizer="patch",
        image_size=16,
        grids=tuple(patch_grid(16, size) for size in (2, 3, 4)),
        width=16,
        depth=2,
        num_heads=2,
        num_classes=5,
        preprocess=Preprocess(resize=16),
    )
    cascade = Cascade(config)
    for parameter in cascade.parameters():  # untrained heads are never confident
        parameter.data.normal_(std=0.5)
    return cascade.eval()


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (101, 16, 16, 3), dtype=np.uint8)


def run_in_parts(
    runner: CascadeRunner, pixels: NDArray[np.uint8], sizes: list[int]
) -> tuple[list[Predictions], list[Failure]]:
    predictions: list[Predictions] = []
    failures: list[Failure] = []
    start = 0
    for size in sizes:
        stop = min(len(pixels), start + size)
        runner.add(np.arange(start, stop), pixels[start:stop])
        start = stop
        part = runner.run_full()
        predictions, failures = predictions + part[0], failures + part[1]
    assert start == len(pixels)
    assert all(count < BATCH for count in runner.waiting), "a full batch was left waiting"
    part = runner.flush()
    return predictions + part[0], failures + part[1]


def num_exits(predictions: list[Predictions]) -> list[int]:
    """Images that left at each of the three exits."""
    exit_stages = np.concatenate([[batch.exit_stage] * len(batch.row_ids) for batch in predictions])
    return [int(np.count_nonzero(exit_stages == stage)) for stage in (1, 2, 3)]


def median_thresholds(model: Cascade, pixels: NDArray[np.uint8]) -> tuple[float, ...]:
    """Thresholds at which about half of the images leave at each exit."""
    images = normalise(pixels_to_unit(torch.from_numpy(pixels)), model.config.preprocess)
    with torch.inference_mode():
        confidences = [logits.softmax(-1).amax(-1) for logits in model(images)]
    return (float(confidences[0].median()), float(confidences[1].median()), float("-inf"))


@pytest.mark.parametrize("sizes", [[101], [7] * 15, [1] * 101, [50, 3, 48]])
def test_labels_exits_and_confidences_equal_those_of_predict(
    model: Cascade, pixels: NDArray[np.uint8], sizes: list[int]
) -> None:
    thresholds = median_thresholds(model, pixels)
    runner = CascadeRunner(model.make_executor(), thresholds, BATCH, top_k=3)
    predictions, failures = run_in_parts(runner, pixels, sizes)
    assert not failures
    images = normalise(pixels_to_unit(torch.from_numpy(pixels)), model.config.preprocess)
    expected = model.predict(images, thresholds, batch_size=BATCH)
    seen = 0
    for batch in predictions:
        rows = batch.row_ids
        seen += len(rows)
        assert (expected.exit_stages[rows] == batch.exit_stage).all()
        np.testing.assert_array_equal(batch.top_label_ids[:, 0], expected.labels[rows])
        np.testing.assert_allclose(
            batch.top_scores[:, 0], expected.confidences[rows], rtol=0, atol=1e-6
        )
        assert batch.exit_confidences.shape == (len(rows), batch.exit_stage)
        np.testing.assert_array_equal(batch.exit_confidences[:, -1], batch.top_scores[:, 0])
    assert seen == len(pixels)
    assert sorted(np.concatenate([batch.row_ids for batch in predictions])) == list(
        range(len(pixels))
    )
    assert len({batch.exit_stage for batch in predictions}) == 3, "the mix must use all exits"


def test_groups_and_labels_of_sure_groups_equal_those_of_predict(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    """Three splits of the stages give the same bits; the label is first, whatever its score."""
    groups = ClassGroups.of(5, {"low": (0, 1), "high": (2, 3), "even": (0, 2, 4)})
    parts = np.array(groups.part_ids())
    model = copy.deepcopy(model)
    model.own_groups = groups
    for stage in model.stages:
        assert isinstance(stage, Stage)
        stage.head.weight.data *= 0.1  # unsure, so that parts matter
    images = normalise(pixels_to_unit(torch.from_numpy(pixels)), model.config.preprocess)
    with torch.inference_mode():
        scores_EnC = torch.stack([exit_scores(logits) for logits in model(images)])
    signal_En = confidence(scores_EnC, groups.parts("group"))[0]
    thresholds = (float(signal_En[0].median()), float(signal_En[1].median()), float("-inf"))
    model.own_groups = groups
    expected = model.predict(images, thresholds, batch_size=BATCH, sure_of="group")
    found: list[dict[int, tuple[object, ...]]] = []
    for split in (((1, 3),), ((1, 1), (2, 3)), ((1, 1), (2, 2), (3, 3))):
        predictions: list[Predictions] = []
        forwarded = [
            ForwardedBatch(np.arange(len(pixels)), pixels, None, np.empty((101, 0), np.float32))
        ]
        for stages in split:
            runner = CascadeRunner(
                model.make_executor(),
                thresholds,
                BATCH,
                top_k=2,
                stages=stages,
                groups=groups,
                sure_of="group",
            )
            for batch in forwarded:
                runner.add_forwarded(batch)
            predictions += runner.flush()[0]
            forwarded = runner.take_forwarded()
        found.append(
            {
                int(row_id): (
                    each.exit_stage,
                    each.top_label_ids[row].tolist(),
                    each.top_scores[row].tobytes(),
                    each.group_scores[row].tobytes(),
                    each.exit_confidences[row].tobytes(),
                )
                for each in predictions
                for row, row_id in enumerate(each.row_ids)
            }
        )
    assert found[0] == found[1] == found[2]
    num_unranked = 0
    for each in predictions:
        rows = each.row_ids
        scores_nC = scores_EnC[each.exit_stage - 1, rows].numpy()
        assert (expected.exit_stages[rows] == each.exit_stage).all()
        np.testing.assert_array_equal(each.top_label_ids[:, 0], expected.labels[rows])
        np.testing.assert_allclose(each.top_scores[:, 0], expected.confidences[rows], atol=1e-6)
        sums = np.stack([scores_nC[:, list(g.class_ids)].sum(1) for g in groups.groups], axis=1)
        sums[sums < 0.1] = 0
        np.testing.assert_allclose(each.group_scores, sums, atol=1e-6)
        in_part = parts == parts[each.top_label_ids[:, :1]]
        np.testing.assert_allclose(
            each.exit_confidences[:, -1], (scores_nC * in_part).sum(1), atol=1e-6
        )
        num_unranked += int((each.top_label_ids[:, 0] != scores_nC.argmax(1)).sum())
    assert num_unranked > 0, "some label must lie outside the part of the best class"


def test_thresholds_of_a_call_hold_for_no_other(model: Cascade, pixels: NDArray[np.uint8]) -> None:
    runner = CascadeRunner(model.make_executor(), (2.0, 2.0, float("-inf")), BATCH, top_k=1)
    for thresholds, exit_stage in (((0.0, 0.0, float("-inf")), 1), (None, 3)):
        runner.add(np.arange(len(pixels)), pixels)
        predictions = runner.run_full(thresholds)[0] + runner.flush(thresholds)[0]
        assert {batch.exit_stage for batch in predictions} == {exit_stage}


def test_the_work_of_every_stage_is_counted_once(model: Cascade, pixels: NDArray[np.uint8]) -> None:
    runner = CascadeRunner(model.make_executor(), median_thresholds(model, pixels), BATCH, top_k=1)
    predictions, _ = run_in_parts(runner, pixels, [7] * 15)
    left = [
        sum(len(batch.row_ids) for batch in predictions if batch.exit_stage == exit_)
        for exit_ in (1, 2, 3)
    ]
    work = runner.take_work()
    assert [stage.images for stage in work] == [101, 101 - left[0], left[2]]
    assert [stage.went_on for stage in work] == [101 - left[0], left[2], 0]
    assert all(stage.seconds > 0 for stage in work)
    assert [stage.images for stage in runner.take_work()] == [0, 0, 0]


def test_an_image_on_which_a_stage_raises_fails_alone(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    poisoned = pixels[:40].copy()
    poisoned[13] = 255
    poison = normalise(pixels_to_unit(torch.from_numpy(poisoned[13:14])), model.config.preprocess)

    def raise_on_poison(_stage: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if (inputs[0] == poison).flatten(1).all(dim=1).any():
            raise RuntimeError("no kernel for this image")

    hook = model.stages[0].register_forward_pre_hook(raise_on_poison)
    try:
        runner = CascadeRunner(model.make_executor(), (2.0, 2.0, float("-inf")), BATCH, top_k=1)
        predictions, failures = run_in_parts(runner, poisoned, [40])
    finally:
        hook.remove()
    assert [failure.row_id for failure in failures] == [13]
    assert "no kernel for this image" in failures[0].detail
    row_ids = sorted(np.concatenate([batch.row_ids for batch in predictions]).tolist())
    assert row_ids == [row_id for row_id in range(40) if row_id != 13]


def test_a_batch_too_large_for_memory_is_halved_and_no_image_is_lost(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    def refuse_more_than_two(_stage: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    hook = model.stages[1].register_forward_pre_hook(refuse_more_than_two)
    try:
        runner = CascadeRunner(model.make_executor(), (2.0, 2.0, float("-inf")), BATCH, top_k=1)
        predictions, failures = run_in_parts(runner, pixels[:21], [21])
    finally:
        hook.remove()
    assert not failures
    row_ids = sorted(np.concatenate([batch.row_ids for batch in predictions]).tolist())
    assert row_ids == list(range(21))


def test_among_equal_scores_the_label_is_that_of_predict(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    head = model.stages[0].head
    assert isinstance(head, torch.nn.Linear)
    before = head.weight.clone(), head.bias.clone()
    try:
        head.weight.data.zero_()
        head.bias.data.copy_(torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0]))
        runner = CascadeRunner(model.make_executor(), (0.0, 0.0, float("-inf")), BATCH, top_k=5)
        predictions, _ = run_in_parts(runner, pixels[:BATCH], [BATCH])
        images = pixels_to_unit(torch.from_numpy(pixels[:BATCH]))
        expected = model.predict(images, (0.0, 0.0), batch_size=BATCH)
    finally:
        head.weight.data.copy_(before[0])
        head.bias.data.copy_(before[1])
    (batch,) = predictions
    np.testing.assert_array_equal(batch.top_label_ids[:, 0], expected.labels)
    assert all(sorted(row) == list(range(5)) for row in batch.top_label_ids.tolist())


def test_deeper_stages_run_full_batches_of_joined_survivors(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    runs = [0, 0, 0]
    thresholds = median_thresholds(model, pixels)

    def count(index: int) -> None:
        runs[index] += 1

    hooks = [
        stage.register_forward_pre_hook(lambda *_, index=index: count(index))
        for index, stage in enumerate(model.stages)
    ]
    try:
        runner = CascadeRunner(model.make_executor(), thresholds, BATCH, top_k=1)
        predictions, _ = run_in_parts(runner, pixels, [BATCH] * 13)
    finally:
        for hook in hooks:
            hook.remove()
    reached = [
        sum(len(batch.row_ids) for batch in predictions if batch.exit_stage > stage)
        for stage in range(3)
    ]
    assert runs == [-(-count // BATCH) for count in reached]


def test_a_static_model_predicts_everything_at_its_one_exit_without_thresholds(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    config = model.config.with_changes(grids=model.config.grids[-1:])
    static = Cascade(config, calibration=Calibration(thresholds=())).eval()
    runner = CascadeRunner(static.make_executor(), static.thresholds(), BATCH, top_k=3)
    predictions, failures = run_in_parts(runner, pixels, [50, 3, 48])
    assert not failures
    assert {batch.exit_stage for batch in predictions} == {1}
    row_ids = np.concatenate([batch.row_ids for batch in predictions])
    labels = np.concatenate([batch.top_label_ids[:, 0] for batch in predictions])
    images = normalise(pixels_to_unit(torch.from_numpy(pixels)), config.preprocess)
    expected = static.predict(images, batch_size=BATCH)
    np.testing.assert_array_equal(np.sort(row_ids), np.arange(len(pixels)))
    np.testing.assert_array_equal(labels, expected.labels[row_ids])


def test_a_failing_device_fails_no_image(model: Cascade, pixels: NDArray[np.uint8]) -> None:
    """After such an error every call fails; images must not become dead letters one by one."""

    def fail(_stage: torch.nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    hook = model.stages[1].register_forward_pre_hook(fail)
    try:
        runner = CascadeRunner(model.make_executor(), (2.0, 2.0, float("-inf")), BATCH, top_k=1)
        with pytest.raises(RuntimeError, match="illegal memory access"):
            run_in_parts(runner, pixels[:21], [21])
    finally:
        hook.remove()


def test_an_upload_out_of_memory_halves_the_batch_size(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    class FullDevice(TorchExecutor):
        refusals = 3

        def upload(self, pixels_nSS3: NDArray[np.uint8]) -> Callable[[], Tensor]:
            self.refusals -= 1
            if self.refusals in (1, 0):
                raise torch.OutOfMemoryError("out of memory")
            return super().upload(pixels_nSS3)

    executor = FullDevice(model.spec, list(model.stages), torch.device("cpu"), torch.float32)
    runner = CascadeRunner(executor, (2.0, 2.0, float("-inf")), BATCH, top_k=1)
    runner.add(np.arange(30), pixels[:30])
    assert sum(runner.waiting) == 30
    parts = [runner.run_full(), runner.flush()]
    assert executor.refusals < 0
    row_ids = [batch.row_ids for predictions, _ in parts for batch in predictions]
    assert sorted(np.concatenate(row_ids).tolist()) == list(range(30))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_graphs_the_runner_predicts_like_predict(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    thresholds = median_thresholds(model, pixels)
    images = normalise(pixels_to_unit(torch.from_numpy(pixels)), model.config.preprocess)
    expected = model.predict(images, thresholds[:-1], batch_size=BATCH)
    twin = copy.deepcopy(model)
    runner = CascadeRunner(twin.make_executor(torch.device("cuda")), thresholds, BATCH, top_k=1)
    predictions, failures = run_in_parts(runner, pixels, [50, 3, 48])
    assert not failures
    for batch in predictions:
        np.testing.assert_array_equal(batch.top_label_ids[:, 0], expected.labels[batch.row_ids])
        assert (expected.exit_stages[batch.row_ids] == batch.exit_stage).all()
