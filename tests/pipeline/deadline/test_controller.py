"""The controller: thresholds of calls, the backlog that the policy gets, and warnings."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cascade.stage_work import StageWork
from pipeline.deadline.controller import DeadlineController
from pipeline.deadline.log import ThresholdLog
from pipeline.deadline.policy import DeadlineSettings
from pipeline.output.counts import Counts, RunCounts
from pipeline.scheduling import PoolLoad
from pipeline.storage import open_output_store
from tests.pipeline.deadline.simulated_run import GMACS, held_out_sets

SETS = held_out_sets()
LAST = len(SETS) - 1
INF = float("inf")


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def controller(
    tmp_path: Path, clock: Clock, seconds: float, pools: tuple[tuple[int, int], ...] = ((1, 3),)
) -> DeadlineController:
    log = ThresholdLog(open_output_store(tmp_path), "run", lambda: None)
    return DeadlineController(
        DeadlineSettings(seconds, SETS), GMACS, pools, 16, clock(), log, clock=clock
    )


def load(num_ready: int = 1, waiting: int = 0, held: int = 0) -> PoolLoad:
    return PoolLoad(num_ready, num_ready, 0, 0, waiting, 0, held, 0, 0)


def one(pool_load: PoolLoad) -> Callable[[int], PoolLoad]:
    return lambda pool: pool_load


def batches(seconds_per_gmac: float, number: int = 100) -> tuple[StageWork, ...]:
    """Work of one call at full depth."""
    return tuple(
        StageWork(number, went_on, number * gmacs * seconds_per_gmac)
        for gmacs, went_on in ((1, number), (2, number), (5, 0))
    )


def test_calls_get_the_thresholds_in_use_and_a_last_exit_that_takes_all(
    clock: Clock, tmp_path: Path
) -> None:
    deadline = controller(tmp_path, clock, seconds=100.0)
    deadline.plan(1000, 0, one(load()))
    assert deadline.start_call(call=0) == (2.0, 2.0, -INF)
    clock.now_s += 8
    deadline.finish_call(0, actor=5, pool=0, work=batches(0.01), waiting=(0, 0, 0))
    deadline.plan(10_000, 100, one(load()))  # 800 s at full depth, 90 s of time
    assert deadline.start_call(call=1) == (*SETS[LAST].thresholds, -INF)
    outcome = deadline.outcome()
    assert (outcome.moves, outcome.safest, outcome.ended_s) == (1, (2.0, 2.0), 8.0)
    assert outcome.loosest == outcome.loosest_allowed == SETS[LAST].thresholds


def test_an_archive_that_is_nearly_done_is_completed_at_full_depth(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a million images every shard has 5 % to do: 200 s at full depth, and 400 s of time."""
    deadline = controller(tmp_path, clock, seconds=400.0)
    totals = RunCounts(Counts.zero(3), Counts.zero(3), num_results=950_000)
    for call in range(100):
        totals.add_shard(10_000, num_skipped=9500, num_replaced=0)
        assert deadline.start_call(call) == (2.0, 2.0, -INF)
        clock.now_s += 2
        work = batches(0.0005, 500)
        deadline.finish_call(call, actor=5, pool=0, work=work, waiting=(0, 0, 0))
        deadline.plan(totals.num_to_do(1_000_000), 500 * (call + 1), one(load()))
    assert not caplog.records


def test_an_archive_that_is_not_counted_gets_the_cheapest_thresholds_and_a_warning(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deadline = controller(tmp_path, clock, seconds=7200.0)
    with caplog.at_level(logging.WARNING):
        deadline.plan(None, 0, one(load()))
        assert deadline.start_call(call=0) == (*SETS[LAST].thresholds, -INF)
        assert not caplog.records
        for _ in range(5):
            clock.now_s += 20
            deadline.plan(None, 0, one(load()))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not counted yet" in caplog.text
    clock.now_s += 20
    deadline.finish_call(0, actor=5, pool=0, work=batches(0.01), waiting=(0, 0, 0))
    deadline.plan(1000, 100, one(load()))
    assert deadline.start_call(call=1) == (2.0, 2.0, -INF)


def test_a_deadline_that_cannot_be_met_is_warned_of_once(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deadline = controller(tmp_path, clock, seconds=60.0)
    with caplog.at_level(logging.WARNING):
        for call in range(3):
            deadline.start_call(call)
            clock.now_s += 8
            deadline.finish_call(call, actor=5, pool=0, work=batches(0.01), waiting=(0, 0, 0))
            deadline.plan(10**6, 100 * call + 100, one(load()))
    assert len(caplog.records) == 1
    assert "cannot be met, even with the cheapest thresholds allowed" in caplog.text


def test_images_inside_count_for_the_stage_they_wait_for_and_lost_ones_start_again(
    clock: Clock, tmp_path: Path
) -> None:
    """Two pools, "1 | 2-3"."""
    deadline = controller(tmp_path, clock, 100.0, pools=((1, 1), (2, 3)))
    for call, (actor, pool, waiting) in enumerate([(1, 0, (7, 3)), (2, 1, (4, 5))]):
        deadline.start_call(call)
        deadline.finish_call(call, actor, pool, (StageWork(), StageWork())[: pool + 1], waiting)
    loads = [load(2, held=10), load(3, waiting=20, held=15)]
    # Of the second pool's 15 images, 9 are inside; 6 and 20 are on their way to it.
    backlog = deadline._backlog(100, loads)
    assert backlog.waiting == (0, 3 + 4 + 6 + 20, 5)
    assert backlog.not_started == 100 - 38
    assert backlog.actors == (2, 3)
    lost = deadline._backlog(100, [load(1), load(1)])
    assert (lost.not_started, lost.waiting) == (100, (0, 0, 0))


def test_thresholds_are_chosen_at_intervals(clock: Clock, tmp_path: Path) -> None:
    asked: list[int] = []

    def load_of(pool: int) -> PoolLoad:
        asked.append(pool)
        return load()

    deadline = controller(tmp_path, clock, seconds=100.0)
    for _ in range(100):
        clock.now_s += 0.1
        deadline.plan(1000, 0, load_of)
    assert 15 <= len(asked) <= 21
