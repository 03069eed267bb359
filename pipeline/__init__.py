"""The Ray engine: sources, decoding, scheduling, actors, outputs. Independent of the command line.

`CascadePredictor` is the cascade as a step of a Ray Data pipeline; it works without the rest.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.ray_data import CascadePredictor

__all__ = ["CascadePredictor"]


def __getattr__(name: str) -> object:
    """Imports exported names on first use, so that light modules load without torch."""
    if name == "CascadePredictor":
        from pipeline.ray_data import CascadePredictor

        return CascadePredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
