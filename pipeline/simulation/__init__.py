"""Runs the scheduler on a simulated cluster, in virtual time, with seeded faults.

The scheduler and the staged queue are the real ones. Everything round them is simulated: the
archive and its exits, actors, objects on nodes, the ledger, and the coordinator between them. After
every step the invariants are checked; `simulate` raises as soon as one is broken.
"""

from pipeline.simulation.invariants import BrokenInvariantError
from pipeline.simulation.scenario import Scenario, fault_scenario
from pipeline.simulation.simulate import simulate
from pipeline.simulation.statistics import PoolResult, SimulationResult

__all__ = [
    "BrokenInvariantError",
    "PoolResult",
    "Scenario",
    "SimulationResult",
    "fault_scenario",
    "simulate",
]
