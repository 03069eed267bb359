"""The policy in virtual time: a run ends within 5 % of every deadline that can be met.

Full depth costs 8 GMACs an image: 8,000 images at 1 ms a GMAC are 64 s of work, and 17 s with the
cheapest thresholds. The start takes 10 s. The policy must not depend on its prior assumptions, so
archives are harder or easier than the held-out images, and machines change their speed.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from pipeline.cascade.stage_work import StageWork
from pipeline.deadline.policy import Backlog, CallWork, DeadlinePolicy, reserve_s
from tests.pipeline.deadline.simulated_run import (
    BATCH,
    GMACS,
    SimulatedRun,
    held_out_sets,
    images,
)

SETS = held_out_sets()


def steady(seconds: float) -> Callable[[float], float]:
    return lambda now_s: seconds


def changing(at_s: float, before: float, after: float) -> Callable[[float], float]:
    return lambda now_s: before if now_s < at_s else after


ARCHIVE = SimulatedRun(SETS, images(8000, seed=5), steady(1e-3), deadline_s=45.0)

FEASIBLE = {
    "images as expected": ARCHIVE,
    "a long run": replace(ARCHIVE, confidences=images(24_000, 6), deadline_s=120.0),
    "harder images": replace(ARCHIVE, confidences=images(8000, 6, 1.0), deadline_s=50.0),
    "easier images": replace(ARCHIVE, confidences=images(8000, 7, -1.5), deadline_s=36.0),
    "half as fast midway": replace(
        ARCHIVE, seconds_per_gmac=changing(40, 1e-3, 2e-3), deadline_s=90.0
    ),
    "twice as fast midway": replace(
        ARCHIVE, seconds_per_gmac=changing(40, 2e-3, 1e-3), deadline_s=62.0
    ),
    "noise": replace(ARCHIVE, noise=0.5),
    "a late start": replace(ARCHIVE, start_s=25.0, deadline_s=60.0),
    "large steps": replace(ARCHIVE, threshold_sets=SETS[::6]),
    "decoding that takes nearly all the time": replace(ARCHIVE, decode_rate=170.0, deadline_s=60.0),
    "an audit": replace(ARCHIVE, audit=0.2, deadline_s=50.0),
    "few slow calls": replace(
        ARCHIVE, confidences=images(800, 13), seconds_per_gmac=steady(1e-2), deadline_s=60.0
    ),
}


@pytest.mark.parametrize("name", FEASIBLE)
def test_a_deadline_that_can_be_met_is_met_within_five_percent(name: str) -> None:
    run = replace(FEASIBLE[name], used=[], exits=[])
    ended_s = run.run()
    assert len(run.exits) == run.confidences.shape[1]
    assert 0.95 <= ended_s / run.deadline_s <= 1.05
    assert set(run.used) <= set(range(len(run.threshold_sets)))
    moves = sum(a != b for a, b in pairwise(run.used))
    assert 0 < moves <= 40


def test_a_run_that_has_time_for_full_depth_uses_nothing_else() -> None:
    run = replace(ARCHIVE, deadline_s=200.0, used=[], exits=[])
    assert run.run() < 100
    assert set(run.used) == {0}
    assert set(run.exits) == {2}


def test_a_deadline_that_cannot_be_met_gets_the_cheapest_thresholds() -> None:
    run = replace(ARCHIVE, deadline_s=18.0, used=[], exits=[])
    ended_s = run.run()
    assert ended_s > 1.05 * run.deadline_s
    assert set(run.used[100:]) == {len(SETS) - 1}


def test_slow_decoding_does_not_make_the_thresholds_looser_before_the_end() -> None:
    """100 s of decoding in 80 s: no thresholds help, and safe ones keep up with the decoding."""
    run = replace(ARCHIVE, decode_rate=80.0, deadline_s=80.0, used=[], exits=[])
    assert run.run() > 100
    first_half = run.used[: len(run.used) // 2]
    assert sum(first_half) / len(first_half) < 0.7 * len(SETS)


def test_a_tiny_archive_runs_at_full_depth() -> None:
    run = replace(ARCHIVE, confidences=images(20, 5), used=[], exits=[])
    run.run()
    assert set(run.used) == {0}


def policy_of_two_pools() -> DeadlinePolicy:
    return DeadlinePolicy(SETS, GMACS, [(1, 1), (2, 3)], BATCH, half_life_s=10.0)


def test_the_slowest_pool_decides_and_more_actors_make_it_faster() -> None:
    """1,000 images: 10 ms each at stage 1, then 20 and 50 ms in the second pool."""
    policy = policy_of_two_pools()
    first, later = (
        StageWork(1000, 1000, 10.0),
        (StageWork(1000, 1000, 20.0), StageWork(1000, 0, 50.0)),
    )
    policy.record(0.0, CallWork(0, 0, (first,), 10.0))
    policy.record(0.0, CallWork(0, 1, later, 70.0))
    tail_s = 0.08 * BATCH / 2
    one = policy.seconds_needed(Backlog(1000, (0, 0, 0), (1, 1)))
    seven = policy.seconds_needed(Backlog(1000, (0, 0, 0), (1, 7)))
    assert one[0] == pytest.approx(70 + tail_s)
    assert seven[0] == pytest.approx(10 + tail_s)
    waiting = policy.seconds_needed(Backlog(0, (0, 100, 0), (1, 1)))
    assert waiting[0] == pytest.approx(7 + tail_s)
    assert (one[1:] < one[:-1]).all()


def test_images_of_an_audit_go_through_all_stages() -> None:
    """1,000 images under the last threshold set, 200 of them audited, the others as expected."""
    last = len(SETS) - 1
    first, second = SETS[last].goes_on
    policy = DeadlinePolicy(SETS, GMACS, [(1, 3)], BATCH, half_life_s=1000.0, audit=0.2)
    numbers = [1000, round(200 + 800 * first), round(200 + 800 * first * second)]
    went_on = [*numbers[1:], 0]
    work = tuple(
        StageWork(images, on, images * gmacs * 1e-3, 200)
        for images, on, gmacs in zip(numbers, went_on, (1, 2, 5), strict=True)
    )
    seconds = sum(part.seconds for part in work)
    policy.record(0.0, CallWork(last, 0, work, seconds))
    needed = policy.seconds_needed(Backlog(10_000, (0, 0, 0), (1,)))
    assert needed[last] == pytest.approx(10 * seconds, rel=0.02)
    assert needed[0] == pytest.approx(80, rel=0.02)
    # Half of those that wait for the last stage are audited, as were those before.
    waiting = policy.seconds_needed(Backlog(0, (0, 1000, 0), (1,)))
    share = 200 / numbers[1]
    assert waiting[last] == pytest.approx(2 + 5 * (share + (1 - share) * second), rel=0.05)


def test_time_that_actors_spend_outside_of_stages_counts() -> None:
    policy = DeadlinePolicy(SETS, GMACS, [(1, 3)], BATCH, half_life_s=1000.0)
    work = tuple(StageWork(1000, 0, seconds) for seconds in (10.0, 20.0, 50.0))
    policy.record(0.0, CallWork(0, 0, work, 160.0))
    needed = policy.seconds_needed(Backlog(1000, (0, 0, 0), (1,)))
    assert needed[0] == pytest.approx(160, rel=0.03)


def test_the_reserve_for_the_end_is_small_in_a_short_run() -> None:
    assert reserve_s(7200, start_s=10) == 60.5
    assert reserve_s(60, start_s=20) == 2.0
    assert reserve_s(2, start_s=0) == 0.5
