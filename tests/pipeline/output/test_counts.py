"""The estimate of what a run has to do, before its listing ends."""

from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.output.counts import Counts, RunCounts

SHARDS, LENGTH = 200, 1000
IMAGES = SHARDS * LENGTH


def estimates_of(num_results: int, shards: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The estimate after each shard, and the true number.

    Args:
        num_results: committed by earlier runs.
        shards: number of results of each that count, and that are done again.
    """
    totals = RunCounts(Counts.zero(2), Counts.zero(2), num_results=num_results)
    truth = sum(LENGTH - counted for counted, _ in shards)
    for counted, redone in shards:
        totals.add_shard(LENGTH, counted, redone)
        yield totals.num_to_do(LENGTH * len(shards)), truth


def test_new_images_spread_over_the_archive_are_estimated_exactly() -> None:
    shards = [(950, 0)] * SHARDS
    assert all(estimate == truth for estimate, truth in estimates_of(950 * SHARDS, shards))


def test_new_images_before_finished_ones_are_estimated_exactly() -> None:
    shards = [(0, 0)] * 50 + [(1000, 0)] * 150
    assert all(estimate == truth for estimate, truth in estimates_of(150_000, shards))
    # 50 results of images that are gone change little.
    estimates = [estimate for estimate, _ in estimates_of(150_050, shards)]
    assert max(abs(np.array(estimates) - 50_000)) <= 1000


def test_after_a_kill_the_rest_is_estimated_exactly() -> None:
    shards = [(1000, 0)] * 90 + [(400, 0)] + [(0, 0)] * 109
    assert all(estimate == truth for estimate, truth in estimates_of(90_400, shards))


@pytest.mark.parametrize("share_redone", [0.1, 0.5, 1.0])
def test_a_retag_run_extrapolates_from_the_shards_it_has_listed(share_redone: float) -> None:
    redone = round(LENGTH * share_redone)
    shards = [(LENGTH - redone, redone)] * SHARDS
    assert all(estimate == truth for estimate, truth in estimates_of(IMAGES, shards))


def test_a_killed_retag_run_adapts_to_what_is_left() -> None:
    shards = [(1000, 0)] * 100 + [(300, 700)] * 100
    estimates = [estimate for estimate, _ in estimates_of(IMAGES, shards)]
    assert estimates[150] == pytest.approx(70_000, rel=0.15)
    assert estimates[-1] == 70_000


def test_results_of_a_replaced_archive_are_soon_ignored() -> None:
    estimates = [estimate for estimate, _ in estimates_of(IMAGES, [(0, 0)] * SHARDS)]
    assert estimates[40] == IMAGES
    estimates = [estimate for estimate, _ in estimates_of(30 * IMAGES, [(0, 0)] * SHARDS)]
    assert estimates[0] == IMAGES


def test_without_results_everything_is_to_do() -> None:
    totals = RunCounts(Counts.zero(2), Counts.zero(2))
    assert totals.num_to_do(5000) == 5000
    totals.num_images = 7000  # more than were counted
    assert totals.num_to_do(5000) == 7000
