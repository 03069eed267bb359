"""The policy against a plant in virtual time: it ends within 5 % of every deadline that can be met.

Full depth costs 8 GMACs an image: 8,000 images at 1 ms a GMAC are 64 s of work, and 17 s under the
last threshold set. The start takes 10 s. What ends the run in time must not depend on what the policy knows
beforehand, so the archives are harder or easier than the held-out images, and machines change.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.cascade.stage_metrics import StageWork
from pipeline.deadline.policy import Backlog, DeadlinePolicy, Worked, reserve_s
from tests.pipeline.plant import BATCH, GMACS, Plant, held_out_rungs, images

RUNGS = held_out_rungs()


def steady(seconds: float) -> Callable[[float], float]:
    return lambda now_s: seconds


def changing(at_s: float, before: float, after: float) -> Callable[[float], float]:
    return lambda now_s: before if now_s < at_s else after


ARCHIVE = Plant(RUNGS, images(8000, seed=5), steady(1e-3), deadline_s=45.0)

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
    "large steps": replace(ARCHIVE, threshold_sets=RUNGS[::6]),
    "decoding that takes nearly all the time": replace(ARCHIVE, decode_rate=170.0, deadline_s=60.0),
    "an audit": replace(ARCHIVE, audit=0.2, deadline_s=50.0),
    "few slow calls": replace(
        ARCHIVE, confidences=images(800, 13), seconds_per_gmac=steady(1e-2), deadline_s=60.0
    ),
}


@pytest.mark.parametrize("name", FEASIBLE)
def test_a_deadline_that_can_be_met_is_met_within_five_percent(name: str) -> None:
    plant = replace(FEASIBLE[name], used=[], exits=[])
    ended_s = plant.run()
    assert len(plant.exits) == plant.confidences.shape[1]
    assert 0.95 <= ended_s / plant.deadline_s <= 1.05
    assert set(plant.used) <= set(range(len(plant.threshold_sets)))
    moves = sum(a != b for a, b in zip(plant.used, plant.used[1:], strict=False))
    assert 0 < moves <= 40


def test_where_full_depth_is_fast_enough_it_is_full_depth_throughout() -> None:
    plant = replace(ARCHIVE, deadline_s=200.0, used=[], exits=[])
    assert plant.run() < 100
    assert set(plant.used) == {0}
    assert set(plant.exits) == {2}


def test_where_the_deadline_cannot_be_met_it_stays_on_the_last_rung() -> None:
    plant = replace(ARCHIVE, deadline_s=18.0, used=[], exits=[])
    ended_s = plant.run()
    assert ended_s > 1.05 * plant.deadline_s
    assert set(plant.used[100:]) == {len(RUNGS) - 1}


def test_decoding_that_takes_longer_than_there_is_time_does_not_cost_quality_before_the_end() -> (
    None
):
    """100 s of decoding and 80 s of time: no threshold set helps, so a cascade that keeps up stays safe."""
    plant = replace(ARCHIVE, decode_rate=80.0, deadline_s=80.0, used=[], exits=[])
    assert plant.run() > 100
    first_half = plant.used[: len(plant.used) // 2]
    assert sum(first_half) / len(first_half) < 0.7 * len(RUNGS)


def test_a_tiny_backlog_is_done_at_full_depth_even_if_nothing_was_measured() -> None:
    plant = replace(ARCHIVE, confidences=images(20, 5), used=[], exits=[])
    plant.run()
    assert set(plant.used) == {0}


def pacer_of_two_pools() -> DeadlinePolicy:
    return DeadlinePolicy(RUNGS, GMACS, [(1, 1), (2, 3)], BATCH, half_life_s=10.0)


def test_the_slowest_pool_decides_and_more_actors_make_it_faster() -> None:
    """1,000 images: 10 ms each at stage 1; at full depth 20 and 50 ms more in the second pool."""
    policy = pacer_of_two_pools()
    first, later = (
        StageWork(1000, 1000, 10.0),
        (StageWork(1000, 1000, 20.0), StageWork(1000, 0, 50.0)),
    )
    policy.note(0.0, Worked(0, 0, (first,), 10.0))
    policy.note(0.0, Worked(0, 1, later, 70.0))
    tail_s = 0.08 * BATCH / 2
    one = policy.seconds_needed(Backlog(1000, (0, 0, 0), (1, 1)))
    seven = policy.seconds_needed(Backlog(1000, (0, 0, 0), (1, 7)))
    assert one[0] == pytest.approx(70 + tail_s)
    assert seven[0] == pytest.approx(10 + tail_s)
    waiting = policy.seconds_needed(Backlog(0, (0, 100, 0), (1, 1)))
    assert waiting[0] == pytest.approx(7 + tail_s)
    assert (one[1:] < one[:-1]).all()


def test_images_of_an_audit_go_through_all_stages() -> None:
    """1,000 images, 200 of them audited, under the last threshold set; as expected otherwise."""
    last = len(RUNGS) - 1
    first, second = RUNGS[last].goes_on
    policy = DeadlinePolicy(RUNGS, GMACS, [(1, 3)], BATCH, half_life_s=1000.0, audit=0.2)
    numbers = [1000, round(200 + 800 * first), round(200 + 800 * first * second)]
    went_on = [*numbers[1:], 0]
    work = tuple(
        StageWork(images, on, images * gmacs * 1e-3, 200)
        for images, on, gmacs in zip(numbers, went_on, (1, 2, 5), strict=True)
    )
    seconds = sum(part.seconds for part in work)
    policy.note(0.0, Worked(last, 0, work, seconds))
    needed = policy.seconds_needed(Backlog(10_000, (0, 0, 0), (1,)))
    assert needed[last] == pytest.approx(10 * seconds, rel=0.02)
    assert needed[0] == pytest.approx(80, rel=0.02)
    # Half of those that wait for the last stage are audited, as were those before.
    waiting = policy.seconds_needed(Backlog(0, (0, 1000, 0), (1,)))
    share = 200 / numbers[1]
    assert waiting[last] == pytest.approx(2 + 5 * (share + (1 - share) * second), rel=0.05)


def test_an_actor_that_waits_between_its_batches_needs_longer() -> None:
    policy = DeadlinePolicy(RUNGS, GMACS, [(1, 3)], BATCH, half_life_s=1000.0)
    work = tuple(StageWork(1000, 0, seconds) for seconds in (10.0, 20.0, 50.0))
    policy.note(0.0, Worked(0, 0, work, 160.0))
    needed = policy.seconds_needed(Backlog(1000, (0, 0, 0), (1,)))
    assert needed[0] == pytest.approx(160, rel=0.03)


def test_the_end_keeps_some_seconds_and_never_much_of_a_short_run() -> None:
    assert reserve_s(7200, start_s=10) == 60.5
    assert reserve_s(60, start_s=20) == 2.0
    assert reserve_s(2, start_s=0) == 0.5
