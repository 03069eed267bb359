"""The scheduler in virtual time: thousands of actors, seeded faults, every step checked."""

from pipeline.simulation.accounts import BrokenInvariant
from pipeline.simulation.scenario import Scenario
from pipeline.simulation.simulate import simulate
from pipeline.simulation.tally import Figures, PoolFigures

__all__ = ["BrokenInvariant", "Figures", "PoolFigures", "Scenario", "simulate"]
