"""Integer geometry of a scene: its unit of length, coloured polygons, and affine maps.

Integers throughout, because a coordinate that a float rounds differently on another machine moves
a pixel. This module knows nothing of pixels or random draws.
"""

from __future__ import annotations

from typing import NamedTuple

from jobs.shapes.classes import Ring
from jobs.shapes.colours import Colour

__all__ = ["EXTENT", "UNIT", "Matrix", "Patch", "transformed"]

UNIT = 1 << 16
"""Length of an image's short side."""

EXTENT = 1
"""How many short sides a scene reaches from its centre: the long side may be twice the short."""

Matrix = tuple[tuple[int, int], tuple[int, int]]


class Patch(NamedTuple):
    """A filled polygon of one colour; corners in 1/65536 of the short side from the centre."""

    corners: Ring
    colour: Colour


def transformed(ring: Ring, matrix: Matrix, offset: tuple[int, int]) -> Ring:
    """Maps points in 1/4096 to scene units.

    Args:
        ring: Points in 1/4096 of the matrix's own scale.
        matrix: Image of the unit vectors (as columns), in scene units.
        offset: Added to each point, in scene units.
    """
    (xx, xy), (yx, yy) = matrix
    left, top = offset
    return tuple(((x * xx + y * xy >> 12) + left, (x * yx + y * yy >> 12) + top) for x, y in ring)
