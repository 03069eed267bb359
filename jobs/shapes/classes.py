"""Outlines of the fourteen classes, as integer polygons.

An outline is a tuple of rings: the first is filled, the others are holes. Points are in 1/4096 of
the class's radius and lie inside the unit circle, so a rotated object stays in the circle that the
scene reserves for it.

No rotation, mirroring or 12 % squeeze turns one class into another (the diamond is a rhombus of
1:1.9, not a turned square). Some pairs differ only in detail that a coarse token grid loses: circle
and gear, ring and spiral, cross and star, crescent and half disc.
"""

import math
from collections.abc import Callable

from jobs.shapes.geometry import ONE, Ring

__all__ = ["CLASSES", "OUTLINES", "Outline"]

Outline = tuple[Ring, ...]


def _ring(points: list[tuple[float, float]]) -> Ring:
    return tuple((round(x * ONE), round(y * ONE)) for x, y in points)


def _polar(radius: float, turn: float) -> tuple[float, float]:
    return radius * math.cos(2 * math.pi * turn), radius * math.sin(2 * math.pi * turn)


def _regular(num_corners: int) -> Outline:
    return (_ring([_polar(1.0, corner / num_corners) for corner in range(num_corners)]),)


def _circle() -> Outline:
    return _regular(48)


def _ring_shape() -> Outline:
    return (*_circle(), _ring([_polar(0.56, step / 40) for step in range(40)]))


def _diamond() -> Outline:
    return (_ring([(1.0, 0.0), (0.0, 1 / 1.9), (-1.0, 0.0), (0.0, -1 / 1.9)]),)


def _star() -> Outline:
    return (_ring([_polar(0.42 if step % 2 else 1.0, step / 10) for step in range(10)]),)


def _cross() -> Outline:
    arm, reach = 0.30, 0.953  # the corner (reach, arm) lies on the unit circle
    quarter = [(reach, -arm), (reach, arm), (arm, arm)]
    points: list[tuple[float, float]] = []
    for cosine, sine in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        points += [(x * cosine - y * sine, x * sine + y * cosine) for x, y in quarter]
    return (_ring(points),)


def _gear() -> Outline:
    num_teeth, root = 8, 0.72
    points: list[tuple[float, float]] = []
    for tooth in range(num_teeth):
        for offset, radius in ((0.00, root), (0.22, root), (0.34, 1.0), (0.66, 1.0), (0.78, root)):
            points.append(_polar(radius, (tooth + offset) / num_teeth))
    return (_ring(points),)


def _half_disc() -> Outline:
    return (_ring([_polar(1.0, step / 60) for step in range(31)]),)


def _crescent() -> Outline:
    # The unit disc minus a disc of radius 0.8 at (0.6, 0); their circles meet at the horns.
    radius, centre = 0.80, 0.60
    horn_x = (1 + centre**2 - radius**2) / (2 * centre)
    outer = math.acos(horn_x) / (2 * math.pi)
    inner = math.atan2(math.sqrt(1 - horn_x**2), horn_x - centre) / (2 * math.pi)
    points = [_polar(1.0, outer + (1 - 2 * outer) * step / 40) for step in range(41)]
    for step in range(31):
        x, y = _polar(radius, (1 - inner) - (1 - 2 * inner) * step / 30)
        points.append((x + centre, y))
    return (_ring(points),)


def _heart() -> Outline:
    points: list[tuple[float, float]] = []
    for step in range(48):
        angle = 2 * math.pi * step / 48
        x = 16 * math.sin(angle) ** 3
        y = sum(a * math.cos(k * angle) for k, a in ((1, 13), (2, -5), (3, -2), (4, -1)))
        points.append((x / 17.5, (y + 1.2) / 17.5))
    return (_ring(points),)


def _arrow() -> Outline:
    half = [(-0.97, 0.20), (0.10, 0.20), (0.10, 0.66), (1.0, 0.0)]
    return (_ring(half + [(x, -y) for x, y in reversed(half[:-1])]),)


def _lightning() -> Outline:
    # Point-symmetric zigzag with long tapering tips.
    half = [(0.28, -0.95), (-0.52, 0.12), (-0.06, 0.12)]
    return (_ring(half + [(-x, -y) for x, y in half]),)


def _spiral() -> Outline:
    # Archimedean; the band is as wide as the gap, which keeps both visible at 64 pixels.
    turns, num_steps, inner, outer, half_width = 1.75, 60, 0.10, 0.86, 0.125
    left: list[tuple[float, float]] = []
    right: list[tuple[float, float]] = []
    for step in range(num_steps + 1):
        part = step / num_steps
        radius, turn = inner + (outer - inner) * part, turns * part
        left.append(_polar(radius + half_width, turn))
        right.append(_polar(max(radius - half_width, 0.0), turn))
    return (_ring(left + right[::-1]),)


_DRAWN: dict[str, Callable[[], Outline]] = {
    "arrow": _arrow,
    "circle": _circle,
    "crescent": _crescent,
    "cross": _cross,
    "diamond": _diamond,
    "gear": _gear,
    "half_disc": _half_disc,
    "heart": _heart,
    "lightning": _lightning,
    "ring": _ring_shape,
    "spiral": _spiral,
    "square": lambda: _regular(4),
    "star": _star,
    "triangle": lambda: _regular(3),
}

CLASSES: tuple[str, ...] = tuple(sorted(_DRAWN))
"""Class names in alphabetical order; a label_id is an index into them."""

OUTLINES: tuple[Outline, ...] = tuple(_DRAWN[name]() for name in CLASSES)
"""One outline per class, in the order of `CLASSES`."""
