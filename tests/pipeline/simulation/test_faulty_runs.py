"""Seeded runs in which everything fails; `simulate` checks the invariants after every step.

A thousand of them: `python -m benchmarks.scheduler --only faults`.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulation import Scenario, SimulationResult, fault_scenario, simulate

NUM_RUNS = 50


@pytest.mark.parametrize("seed", range(NUM_RUNS))
def test_no_image_is_lost_or_completed_twice(seed: int) -> None:
    assert simulate(fault_scenario(seed, images=4000)).virtual_s > 0


def test_every_kind_of_fault_happens_and_work_is_redone() -> None:
    runs = [simulate(fault_scenario(seed, images=4000)) for seed in range(12)]
    assert {name for run in runs for name in run.faults} == {
        "actor_losses",
        "node_losses",
        "spot_drains",
        "object_losses",
        "resizes",
        "coordinator_losses",
    }
    for name in ("decoded_again", "run_again", "answers_lost", "given_up"):
        assert sum(getattr(run, name) for run in runs), name


def test_the_same_seed_is_the_same_run() -> None:
    """A regression: slices of one block were restarted in an order that memory addresses gave.

    Needs images that kill actors, because only the search for these cuts blocks into slices.
    """

    def virtual(result: SimulationResult) -> tuple[object, ...]:
        return result.virtual_s, result.steps, result.run_again, result.faults, result.pools

    for seed in range(0, 60, 5):
        scenario = fault_scenario(seed, images=1500)
        assert scenario.poison
        assert virtual(simulate(scenario)) == virtual(simulate(scenario)), f"seed {seed}"


RATES = st.sampled_from([0.0, 600.0, 3600.0, 20_000.0])


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
def test_no_scenario_breaks_an_invariant(
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
