"""The scheduler in virtual time: thousands of actors, seeded faults, every step checked."""

from pipeline.simulation.accounts import BrokenInvariantError
from pipeline.simulation.counts import Figures, PoolFigures
from pipeline.simulation.scenario import Scenario
from pipeline.simulation.simulate import simulate

__all__ = ["BrokenInvariantError", "Figures", "PoolFigures", "Scenario", "simulate"]
