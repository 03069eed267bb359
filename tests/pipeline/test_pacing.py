"""The pacer against a plant in virtual time: it ends within 5 % of every deadline that can be met.

Full depth costs 8 GMACs an image. With 4,000 images and 1 ms a GMAC that is 32 s of work; the
ladder's last rung takes 8 s. The start takes 10 s.
"""

from collections.abc import Callable

import pytest

from pipeline.pacing import Backlog, Pacer, Worked
from pipeline.stage_meter import StageWork
from tests.pipeline.plant import BATCH, GMACS, Plant, held_out_rungs, images

RUNGS = held_out_rungs()


def steady(seconds: float) -> Callable[[float], float]:
    return lambda now_s: seconds


def slower_from(at_s: float, before: float, after: float) -> Callable[[float], float]:
    return lambda now_s: before if now_s < at_s else after


FEASIBLE = {
    "images as expected": Plant(RUNGS, images(8000, 5), steady(1e-3), 45.0),
    "a long run": Plant(RUNGS, images(100_000, 5), steady(1e-3), 500.0),
    "harder images": Plant(RUNGS, images(8000, 6, hardness=1.0), steady(1e-3), 50.0),
    "easier images": Plant(RUNGS, images(8000, 7, hardness=-1.5), steady(1e-3), 36.0),
    "a machine half as fast midway": Plant(
        RUNGS, images(20_000, 8), slower_from(60, 1e-3, 2e-3), 150.0
    ),
    "a machine twice as fast midway": Plant(
        RUNGS, images(20_000, 8), slower_from(60, 2e-3, 1e-3), 150.0
    ),
    "noise": Plant(RUNGS, images(8000, 9), steady(1e-3), 45.0, noise=0.5),
    "a late start": Plant(RUNGS, images(8000, 10), steady(1e-3), 60.0, start_s=25.0),
    "large steps": Plant(RUNGS[::6], images(8000, 11), steady(1e-3), 45.0),
    "decoding that takes nearly all the time": Plant(
        RUNGS, images(8000, 12), steady(1e-3), 60.0, decode_rate=170.0
    ),
    "slow calls": Plant(RUNGS, images(1000, 13), steady(1e-2), 60.0),
}


@pytest.mark.parametrize("name", FEASIBLE)
def test_a_deadline_that_can_be_met_is_met_within_five_percent(name: str) -> None:
    plant = FEASIBLE[name]
    ended_s = plant.run()
    assert len(plant.exits) == plant.confidences.shape[1]
    assert 0.95 <= ended_s / plant.deadline_s <= 1.05, (name, ended_s, plant.deadline_s)
    assert max(plant.used) <= len(RUNGS) - 1
