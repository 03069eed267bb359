"""One scenario from start to end, checked at every step."""

import time
from collections.abc import Callable

from pipeline.simulation.counts import Figures
from pipeline.simulation.faults import Faults
from pipeline.simulation.invariants import Invariants
from pipeline.simulation.scenario import Scenario
from pipeline.simulation.world import World

__all__ = ["simulate"]

_STEPS_BETWEEN_REPORTS = 20_000


def simulate(scenario: Scenario, listener: Callable[[World], None] | None = None) -> Figures:
    """Runs a scenario.

    Args:
        scenario: what to run.
        listener: shown the world now and then.

    Raises:
        BrokenInvariantError: the scheduler did what it never may.
    """
    started = time.perf_counter()
    world = World(scenario)
    invariants = Invariants(scenario)
    Faults(world)
    while not world.is_finished:
        world.step()
        invariants.check(world)
        world.counts.num_steps += 1
        if listener is not None and world.counts.num_steps % _STEPS_BETWEEN_REPORTS == 0:
            listener(world)
    invariants.check_end(world)
    for actor in world.fleet.actors.values():
        world.counts.retire(actor, world.agenda.now_s)
    return world.counts.figures(world.agenda.now_s, time.perf_counter() - started)
