"""One scenario from start to end, checked after every step."""

import time
from collections.abc import Callable

from pipeline.scheduling import Limits, Scheduler
from pipeline.simulation.coordinator import SimulatedCoordinator
from pipeline.simulation.faults import schedule_faults
from pipeline.simulation.invariants import Invariants
from pipeline.simulation.scenario import Scenario
from pipeline.simulation.statistics import SimulationResult

__all__ = ["simulate"]

_STEPS_BETWEEN_REPORTS = 20_000


def simulate(
    scenario: Scenario,
    make_scheduler: Callable[[Limits], Scheduler] = Scheduler,
    on_progress: Callable[[int], None] = lambda num_listed: None,
) -> SimulationResult:
    """Runs a scenario.

    Args:
        scenario: what to simulate.
        make_scheduler: makes the scheduler under test, again after each loss of the coordinator.
        on_progress: called every 20,000 steps with the number of images listed so far.

    Raises:
        BrokenInvariantError: the scheduler did what it never may.
    """
    started = time.perf_counter()
    run = SimulatedCoordinator(scenario, make_scheduler)
    invariants = Invariants(run)
    schedule_faults(run)
    while not run.is_finished:
        run.step()
        invariants.check()
        if run.statistics.num_steps % _STEPS_BETWEEN_REPORTS == 0:
            on_progress(run.ledger.num_listed)
    invariants.check_end()
    for actor in list(run.cluster.actors.values()):
        run.cluster.remove(actor)
    return run.statistics.result(
        run.events.now_s, time.perf_counter() - started, invariants.peak_bytes
    )
