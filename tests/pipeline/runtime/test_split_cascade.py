"""Stages divided over several runners, as over the actors of several pools; without Ray."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dvt import Cascade
from pipeline.cascade.batches import Predictions
from pipeline.cascade.runner import CascadeRunner
from tests.pipeline.cascade.test_runner import BATCH, median_thresholds, model, pixels

__all__ = ["model", "pixels"]  # fixtures


def run_split(
    model: Cascade,
    pixels: NDArray[np.uint8],
    split: list[tuple[int, int]],
    runners_per_pool: int = 1,
) -> list[Predictions]:
    """Runs all images through a chain of pools that forward full batches at once."""
    thresholds = median_thresholds(model, pixels)
    executor = model.make_executor()
    executor.embedder = model.make_embedder(executor.device)
    pools = [
        [
            CascadeRunner(executor, thresholds, BATCH, 3, stages, "float32")
            for _ in range(runners_per_pool)
        ]
        for stages in split
    ]
    predictions: list[Predictions] = []
    num_forwarded = 0
    for turn, start in enumerate(range(0, len(pixels), 10)):
        row_ids = np.arange(start, min(start + 10, len(pixels)))
        pools[0][turn % runners_per_pool].add(row_ids, pixels[row_ids])
        for number, pool in enumerate(pools):
            for runner in pool:
                predictions += runner.run_full()[0]
                for batch in runner.take_forwarded():
                    assert len(batch) == BATCH, "forwarded batches are full"
                    pools[number + 1][num_forwarded % runners_per_pool].add_forwarded(batch)
                    num_forwarded += 1
    for number, pool in enumerate(pools):
        for runner in pool:
            predictions += runner.flush()[0]
            for batch in runner.take_forwarded():
                pools[number + 1][0].add_forwarded(batch)
    return predictions


def by_row_id(predictions: list[Predictions]) -> dict[int, tuple[object, ...]]:
    rows: dict[int, tuple[object, ...]] = {}
    for batch in predictions:
        for row, row_id in enumerate(batch.row_ids.tolist()):
            assert row_id not in rows, "predicted twice"
            rows[row_id] = (
                batch.exit_stage,
                tuple(batch.top_label_ids[row].tolist()),
                tuple(batch.exit_confidences[row].tolist()),
                None if batch.embeddings is None else tuple(batch.embeddings[row].tolist()),
            )
    return rows


@pytest.mark.parametrize("split", [[(1, 1), (2, 3)], [(1, 2), (3, 3)], [(1, 1), (2, 2), (3, 3)]])
@pytest.mark.parametrize("runners", [1, 2])
def test_all_splits_give_identical_predictions(
    model: Cascade, pixels: NDArray[np.uint8], split: list[tuple[int, int]], runners: int
) -> None:
    whole = by_row_id(run_split(model, pixels, [(1, 3)]))
    assert len(whole) == len(pixels)
    assert {stage for stage, *_ in whole.values()} == {1, 2, 3}
    assert len({embedding for *_, embedding in whole.values()}) == len(pixels)
    assert by_row_id(run_split(model, pixels, split, runners)) == whole


def test_a_batch_for_which_the_processor_has_no_memory_is_halved(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    """A real allocation that fails; torch has no type of its own for that error."""

    def ask_for_too_much(_stage: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 2:
            torch.empty(2**56, dtype=torch.uint8)

    hook = model.stages[1].register_forward_pre_hook(ask_for_too_much)
    try:
        runner = CascadeRunner(model.make_executor(), (2.0, 2.0, float("-inf")), BATCH, top_k=1)
        runner.add(np.arange(21), pixels[:21])
        predictions, failures = runner.flush()
    finally:
        hook.remove()
    assert not failures
    assert runner.batch_size == 2
    assert sorted(by_row_id(predictions)) == list(range(21))
