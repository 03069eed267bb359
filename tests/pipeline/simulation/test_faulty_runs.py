"""Seeded runs in which everything fails; `simulate` checks what must hold at every step.

A thousand of them: `python -m benchmarks.scheduler --only faults`.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.simulation import Scenario, simulate
from pipeline.simulation.disasters import disaster

NUM_RUNS = 50


@pytest.mark.parametrize("seed", range(NUM_RUNS))
def test_nothing_is_lost_and_nothing_is_done_twice(seed: int) -> None:
    figures = simulate(disaster(seed, images=4000))
    assert figures.virtual_s > 0


def test_the_disasters_are_some() -> None:
    """Over a few seeds every kind of fault happens, and work is redone."""
    runs = [simulate(disaster(seed, images=4000)) for seed in range(12)]
    happened = {name for run in runs for name in run.faults}
    assert happened == {
        "actor_losses",
        "node_losses",
        "spot_drains",
        "object_losses",
        "resizes",
        "coordinator_losses",
    }
    assert all(sum(getattr(run, name) for run in runs) for name in ("decoded_again", "run_again"))
    assert sum(run.answers_lost for run in runs)
    assert sum(run.given_up for run in runs)


RATES = st.sampled_from([0.0, 600.0, 3600.0, 20_000.0])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    split=st.sampled_from([("1-3", "4"), ("1 | 2-3", "3,2"), ("1 | 2 | 3", "2,1,2")]),
    images=st.integers(0, 1500),
    batch_size=st.sampled_from([1, 7, 32]),
    calls_in_flight=st.integers(1, 3),
    budget_gb=st.sampled_from([1e-6, 0.01, 0.05, 10.0]),
    drift=st.sampled_from([0.0, 1.0]),
    losses=RATES,
    drains=RATES,
    objects=RATES,
    resizes=RATES,
    poison=st.sampled_from([0.0, 0.002]),
)
def test_no_schedule_breaks_what_must_hold(
    seed: int,
    split: tuple[str, str],
    images: int,
    batch_size: int,
    calls_in_flight: int,
    budget_gb: float,
    drift: float,
    losses: float,
    drains: float,
    objects: float,
    resizes: float,
    poison: float,
) -> None:
    pools, actors = split
    scenario = Scenario.model_validate(
        {
            "images": images,
            "pools": pools,
            "actors": actors,
            "decoders": 3,
            "batch_size": batch_size,
            "calls_in_flight": calls_in_flight,
            "budget_gb": budget_gb,
            "drift": drift,
            "actor_losses": losses,
            "spot_drains": drains,
            "object_losses": objects,
            "resizes": resizes,
            "poison": poison,
            "actors_per_node": 2,
            "notice_s": 0.2,
            "restart_s": 0.1,
            "seed": seed,
        }
    )
    simulate(scenario)
