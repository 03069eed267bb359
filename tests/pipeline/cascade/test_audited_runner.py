"""Images of an audit: their answer is the early one, beside it stands that of full depth."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt import Cascade
from dvt.inference import make_executor
from dvt.preprocess import normalise, pixels_to_unit
from pipeline.audit.held_predictions import HeldPredictions
from pipeline.cascade.batches import Failure, ForwardedBatch, Predictions
from pipeline.cascade.runner import CascadeRunner
from tests.dvt.conftest import one_thread
from tests.pipeline.cascade.test_runner import BATCH, median_thresholds, model, pixels

__all__ = ["model", "one_thread", "pixels"]  # fixtures

pytestmark = pytest.mark.usefixtures("one_thread")

FULL_DEPTH = (2.0, 2.0, float("-inf"))
TOP_K = 3
Told = tuple[int, list[int], list[float], list[float]]


def run(
    model: Cascade,
    pixels: NDArray[np.uint8],
    thresholds: tuple[float, ...],
    is_audited: NDArray[np.bool_] | None = None,
    split: tuple[tuple[int, int], ...] = ((1, 3),),
) -> tuple[list[Predictions], list[Failure]]:
    """All images through a chain of runners, in blocks of ten."""
    executor = make_executor(model)
    pools = [CascadeRunner(executor, thresholds, BATCH, TOP_K, stages) for stages in split]
    answers: list[Predictions] = []
    failures: list[Failure] = []
    for start in range(0, len(pixels), 10):
        row_ids = np.arange(start, min(start + 10, len(pixels)))
        early = None
        if is_audited is not None:
            early = HeldPredictions.none_yet(is_audited[row_ids], TOP_K)
        nothing = np.empty((len(row_ids), 0), np.float32)
        pools[0].add_hard(ForwardedBatch(row_ids, pixels[row_ids], None, nothing, early))
        answers += pools[0].run_full()[0]
    for number, pool in enumerate(pools):
        part = pool.flush()
        answers, failures = answers + part[0], failures + part[1]
        for hard in pool.take_forwarded():
            pools[number + 1].add_hard(hard)
    return answers, failures


def told(answers: list[Predictions]) -> dict[int, Told]:
    """Everything but the audit, by row_id."""
    rows: dict[int, Told] = {}
    for answer in answers:
        assert answer.exit_confidences.shape == (len(answer.row_ids), answer.exit_stage)
        for row, row_id in enumerate(answer.row_ids.tolist()):
            assert row_id not in rows, "answered twice"
            rows[row_id] = (
                answer.exit_stage,
                answer.top_label_ids[row].tolist(),
                answer.top_scores[row].tolist(),
                answer.exit_confidences[row].tolist(),
            )
    return rows


def audits(answers: list[Predictions]) -> dict[int, tuple[int, float]]:
    """The full-depth label and its confidence of all images that have one."""
    found = {}
    for answer in answers:
        if answer.audit_label_ids is None or answer.audit_confidences is None:
            continue
        for row in np.flatnonzero(answer.audit_label_ids >= 0).tolist():
            audit = int(answer.audit_label_ids[row]), float(answer.audit_confidences[row])
            found[int(answer.row_ids[row])] = audit
    return found


@pytest.mark.parametrize("split", [((1, 3),), ((1, 1), (2, 3)), ((1, 1), (2, 2), (3, 3))])
def test_the_answer_is_that_without_an_audit_and_beside_it_stands_full_depths(
    model: Cascade, pixels: NDArray[np.uint8], split: tuple[tuple[int, int], ...]
) -> None:
    pixels = pixels[:50]
    thresholds = median_thresholds(model, pixels)
    is_audited = np.arange(len(pixels)) % 3 == 1
    answers, failures = run(model, pixels, thresholds, is_audited, split)
    plain = told(run(model, pixels, thresholds)[0])
    deep = told(run(model, pixels, FULL_DEPTH)[0])
    assert not failures
    assert told(answers) == plain
    audited = np.flatnonzero(is_audited).tolist()
    assert audits(answers) == {
        row_id: (deep[row_id][1][0], deep[row_id][2][0]) for row_id in audited
    }
    assert {plain[row_id][0] for row_id in audited} == {1, 2, 3}, "the audit must meet all exits"
    assert any(plain[row_id][1][0] != deep[row_id][1][0] for row_id in audited)


def test_an_audit_never_costs_an_image_its_answer(
    model: Cascade, pixels: NDArray[np.uint8]
) -> None:
    """The last stage raises on three: one stays for the audit alone, two had to come there."""
    pixels = pixels[:50]
    thresholds = median_thresholds(model, pixels)
    plain = told(run(model, pixels, thresholds)[0])
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
        answers, failures = run(model, pixels, thresholds, is_audited, ((1, 1), (2, 3)))
    finally:
        hook.remove()
    assert sorted(failure.row_id for failure in failures) == sorted([due, other])
    assert told(answers) == {
        row_id: answer for row_id, answer in plain.items() if row_id not in (due, other)
    }
    assert early not in audits(answers)
    assert early + 1 in audits(answers)
