"""Which tags are below thresholds, against the runner's comparison."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvt.exits import FULL_DEPTH, exit_mask
from pipeline.output.retag import exits_below_threshold, looser_exit
from pipeline.records import TAGS_SCHEMA


def tags(*confidences: list[float] | None, stages: list[int] | None = None) -> pa.Table:
    """Tags that exited at the last of their confidences, unless `stages` says otherwise."""
    stages = stages or [len(row or ()) for row in confidences]
    rows = [
        {"key": str(number), "exit_stage": stage, "exit_confidences": row}
        for number, (row, stage) in enumerate(zip(confidences, stages, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=TAGS_SCHEMA)


def test_only_the_confidence_of_the_tags_exit_counts() -> None:
    rows = tags([0.9], [0.1, 0.7], [0.1, 0.6], [0.69], [0.1, 0.2, 0.3])
    assert exits_below_threshold(rows, (0.7, 0.65)).tolist() == [False, False, True, True, False]
    # It passed the first exit for another reason; exiting later than needed is not below.
    assert exits_below_threshold(tags([0.99, 0.7]), (0.7, 0.65)).tolist() == [False]


def test_no_early_exit_satisfies_full_depth() -> None:
    rows = tags([1.0], [0.5, 1.0], [0.5, 0.5, 0.1])
    assert exits_below_threshold(rows, (FULL_DEPTH,) * 2).tolist() == [True, True, False]


def test_a_model_with_one_exit_has_nothing_to_retag() -> None:
    assert exits_below_threshold(tags([0.1], [1.0]), ()).tolist() == [False, False]


def test_a_missing_confidence_is_below_except_at_the_last_exit() -> None:
    rows = tags(None, [0.9], [math.nan], None, stages=[1, 2, 1, 3])
    assert exits_below_threshold(rows, (0.1, 0.1)).tolist() == [True, True, True, False]


def test_rows_in_several_chunks_and_slices_and_no_rows_at_all() -> None:
    rows = pa.concat_tables([tags([0.9], [0.1, 0.2]), tags([0.4]), tags([0.1, 0.8])]).slice(1)
    assert exits_below_threshold(rows, (0.5, 0.5)).tolist() == [True, True, False]
    assert exits_below_threshold(rows.slice(0, 0), (0.5, 0.5)).tolist() == []


@given(
    threshold=st.floats(0, 1),
    steps=st.integers(-2, 2),
)
def test_near_the_threshold_the_decision_is_the_runners(threshold: float, steps: int) -> None:
    confidence = np.float32(threshold)
    for _ in range(abs(steps)):
        confidence = np.nextafter(confidence, np.float32(2 if steps > 0 else 0))
    exits = bool(exit_mask(torch.tensor([confidence]), threshold)[0])
    assert exits_below_threshold(tags([float(confidence)]), (threshold,)).tolist() == [not exits]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.956, 0.663])
def test_a_confidence_that_equals_the_threshold_in_float32_is_not_below(threshold: float) -> None:
    """0.7 is 0.69999999 in float32, and 0.1 is 0.10000000149."""
    confidence = np.float32(threshold)
    below = np.nextafter(confidence, np.float32(0))
    rows = tags([float(confidence)], [float(below)])
    assert exits_below_threshold(rows, (threshold,)).tolist() == [False, True]
    assert exit_mask(torch.tensor([confidence, below]), threshold).tolist() == [True, False]


@pytest.mark.parametrize(
    ("before", "now", "exit_stage"),
    [
        ((0.5, 0.7), (0.5, 0.7), None),
        ((0.5, 0.7), (0.6, 0.7), None),
        ((0.5, 0.7), (0.4, 0.9), 1),
        ((0.5, 0.7), (0.9, 0.69), 2),
        ((0.5, 0.7), (FULL_DEPTH, FULL_DEPTH), None),
        ((FULL_DEPTH, FULL_DEPTH), (0.99, 0.99), 1),
        ((FULL_DEPTH, 0.5), (3.0, 0.5), None),
        ((3.0, 0.5), (FULL_DEPTH, 0.5), None),
        ((0.0, 0.5), (-1.0, 0.5), None),
        ((), (), None),
    ],
)
def test_looser_means_a_lower_threshold(
    before: tuple[float, ...], now: tuple[float, ...], exit_stage: int | None
) -> None:
    assert looser_exit(before, now) == exit_stage
