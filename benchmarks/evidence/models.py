"""The models of the evidence, and their places below one folder.

cifar10             the shipped cascade, long schedule
short/cascade       a cascade of the same preset, short schedule
short/static_K      the static model that stage K would be on its own, short schedule
"""

__all__ = ["CASCADES", "MODELS", "SHIPPED", "STATICS"]

SHIPPED = "cifar10"

CASCADES = {"short": "short/cascade", "long": SHIPPED}
"""Cascades by schedule."""

STATICS = {stage: f"short/static_{stage}" for stage in (1, 2, 3)}
"""Static models by the stage of the cascade of the same schedule, from 1."""

MODELS = (*STATICS.values(), *CASCADES.values())
