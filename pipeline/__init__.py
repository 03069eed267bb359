"""The Ray engine: sources, decode, queues, actors, ledger and sinks; knows no commands.

Usable alone is `CascadePredictor`, the cascade as a step of a Ray Data pipeline.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.ray_data import CascadePredictor

__all__ = ["CascadePredictor"]


def __getattr__(name: str) -> object:
    """Loads what is exported on first use: most who import a module of this need no torch."""
    if name == "CascadePredictor":
        from pipeline.ray_data import CascadePredictor

        return CascadePredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
