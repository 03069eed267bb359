"""Integer geometry of a scene: units, rotations, polygons and affine maps.

Integers only: a float coordinate that another machine rounds differently would move a pixel.
"""

import math
from typing import NamedTuple

from jobs.shapes.colours import Colour

__all__ = [
    "EXTENT",
    "NUM_ANGLES",
    "ONE",
    "UNIT",
    "Matrix",
    "Patch",
    "Ring",
    "rotation",
    "transform",
]

Ring = tuple[tuple[int, int], ...]
Matrix = tuple[tuple[int, int], tuple[int, int]]

ONE = 4096
"""The integer that represents 1.0 in outlines, sines and cosines."""

UNIT = 1 << 16
"""Length of an image's short side, in scene units."""

EXTENT = 1
"""Short sides from a scene's centre to its border: the long side may be twice the short one."""

NUM_ANGLES = 256
"""Steps in a full turn."""

# Rounded once to 12 bits, so a libm that differs in the last place gives the same table.
_COSINES = tuple(
    round(ONE * math.cos(2 * math.pi * step / NUM_ANGLES)) for step in range(NUM_ANGLES)
)


class Patch(NamedTuple):
    """A filled polygon of one colour; corners in scene units from the centre."""

    corners: Ring
    colour: Colour


def rotation(step: int) -> tuple[int, int]:
    """Cosine and sine of `step` / 256 of a full turn, in 1/4096."""
    return _COSINES[step % NUM_ANGLES], _COSINES[(step - NUM_ANGLES // 4) % NUM_ANGLES]


def transform(ring: Ring, matrix: Matrix, offset: tuple[int, int]) -> Ring:
    """Maps points in 1/4096 to scene units.

    Args:
        ring: points in 1/4096 of the matrix's scale.
        matrix: images of the unit vectors (columns), in scene units.
        offset: added to each point, in scene units.
    """
    (xx, xy), (yx, yy) = matrix
    left, top = offset
    return tuple(((x * xx + y * xy >> 12) + left, (x * yx + y * yy >> 12) + top) for x, y in ring)
