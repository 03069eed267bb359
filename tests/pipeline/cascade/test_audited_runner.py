"""Audited images keep their early prediction and get that of full depth beside it."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt import Cascade
from dvt.labels import ClassGroups
from dvt.preprocess import normalise, pixels_to_unit
from pipeline.audit.held_predictions import HeldPredictions
from pipeline.cascade.batches import Failure, ForwardedBatch, Predictions
from pipeline.cascade.runner import CascadeRunner
from tests.pipeline.cascade.test_runner import BATCH, median_thresholds, model, pixels

__all__ = ["model", "pixels"]  # fixtures


FULL_DEPTH = (2.0, 2.0, float("-inf"))
TOP_K = 3
GROUPS = ClassGroups.of(5, {"low": (0, 1), "high": (2, 3)})
Row = tuple[int, list[int], list[float], list[float], list[float]]


def run(
    model: Cascade,
    pixels: NDArray[np.uint8],
    thresholds: tuple[float, ...],
    is_audited: NDArray[np.bool_] | None = None,
    split: tuple[tuple[int, int], ...] = ((1, 3),),
) -> tuple[list[Predictions], list[Failure]]:
    """Runs all images through a chain of runners, in blocks of ten."""
    executor = model.make_executor()
    pools = [
        CascadeRunner(executor, thresholds, BATCH, TOP_K, stages, groups=GROUPS) for stages in split
    ]
    predictions: list[Predictions] = []
    failures: list[Failure] = []
    for start in range(0, len(pixels), 10):
        row_ids = np.arange(start, min(start + 10, len(pixels)))
        held = None
        if is_audited is not None:
            held = HeldPredictions.none_yet(is_audited[row_ids], TOP_K, len(GROUPS))
        no_confidences = np.empty((len(row_ids), 0), np.float32)
        batch = ForwardedBatch(row_ids, pixels[row_ids], None, no_confidences, held)
        pools[0].add_forwarded(batch)
        predictions += pools[0].run_full()[0]
    for number, pool in enumerate(pools):
        flushed = pool.flush()
        predictions, failures = predictions + flushed[0], failures + flushed[1]
        for batch in pool.take_forwarded():
            pools[number + 1].add_forwarded(batch)
    return predictions, failures


def by_row_id(predictions: list[Predictions]) -> dict[int, Row]:
    """Everything but the audit columns."""
    rows: dict[int, Row] = {}
    for batch in predictions:
        assert batch.exit_confidences.shape == (len(batch.row_ids), batch.exit_stage)
        for row, row_id in enumerate(batch.row_ids.tolist()):
            assert row_id not in rows, "predicted twice"
            rows[row_id] = (
                batch.exit_stage,
                batch.top_label_ids[row].tolist(),
                batch.top_scores[row].tolist(),
                batch.exit_confidences[row].tolist(),
                batch.group_scores[row].tolist(),
            )
    return rows


def audits(predictions: list[Predictions]) -> dict[int, tuple[int, float]]:
    """Label and confidence of full depth, of all images that have them."""
    found = {}
    for batch in predictions:
        if batch.audit_label_ids is None or batch.audit_confidences is None:
            continue
        for row in np.flatnonzero(batch.audit_label_ids >= 0).tolist():
            audit = int(batch.audit_label_ids[row]), float(batch.audit_confidences[row])
            found[int(batch.row_ids[row])] = audit
    return found


@pytest.mark.parametrize("split", [((1, 3),), ((1, 1), (2, 3)), ((1, 1), (2, 2), (3, 3))])
def test_an_audit_changes_no_prediction_and_adds_that_of_full_depth(
    model: Cascade, pixels: NDArray[np.uint8], split: tuple[tuple[int, int], ...]
) -> None:
    pixels = pixels[:50]
    thresholds = median_thresholds(model, pixels)
    is_audited = np.arange(len(pixels)) % 3 == 1
    predictions, failures = run(model, pixels, thresholds, is_audited, split)
    plain = by_row_id(run(model, pixels, thresholds)[0])
    deep = by_row_id(run(model, pixels, FULL_DEPTH)[0])
    assert not failures
    assert by_row_id(predictions) == plain
    audited = np.flatnonzero(is_audited).tolist()
    assert audits(predictions) == {
        row_id: (deep[row_id][1][0], deep[row_id][2][0]) for row_id in audited
    }
    assert {plain[row_id][0] for row_id in audited} == {1, 2, 3}, "the audit must meet all exits"
    assert any(plain[row_id][1][0] != deep[row_id][1][0] for row_id in audited)


def test_an_audit_never_costs_an_image_its_prediction(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    """The last stage raises on three images: one is there for the audit only, two are due there."""
    pixels = pixels[:50]
    thresholds = median_thresholds(model, pixels)
    plain = by_row_id(run(model, pixels, thresholds)[0])
    early = next(row_id for row_id in plain if plain[row_id][0] == 1)
    due, other = [row_id for row_id in plain if plain[row_id][0] == 3][:2]
    is_audited = np.isin(np.arange(len(pixels)), [early, early + 1, due])
    chosen = pixels_to_unit(torch.from_numpy(pixels[[early, due, other]]))
    poison = normalise(chosen, model.config.preprocess)

    def raise_on_poison(_stage: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if (inputs[0][:, None] == poison[None]).flatten(2).all(dim=2).any():
            raise RuntimeError("no kernel for this image")

    hook = model.stages[2].register_forward_pre_hook(raise_on_poison)
    try:
        predictions, failures = run(model, pixels, thresholds, is_audited, ((1, 1), (2, 3)))
    finally:
        hook.remove()
    assert sorted(failure.row_id for failure in failures) == sorted([due, other])
    assert by_row_id(predictions) == {
        row_id: row for row_id, row in plain.items() if row_id not in (due, other)
    }
    assert early not in audits(predictions)
    assert early + 1 in audits(predictions)
