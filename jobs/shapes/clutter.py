"""What lies behind the object to distract from it: stripes, strokes, pebbles and specks.

None of it can pass for a labelled class: strokes are thin, pebbles are elongated, irregular, at
most half as long as the object and never as far from the background as the object is.
"""

from __future__ import annotations

from jobs.shapes.classes import NUM_ANGLES, ONE, Ring, rotation
from jobs.shapes.colours import NUM_HUES, Colour, Palette, colour
from jobs.shapes.draws import Draws
from jobs.shapes.geometry import EXTENT, UNIT, Patch, transformed

__all__ = ["bar", "draw_clutter", "draw_stripes", "pebble"]

_NUM_PEBBLE_CORNERS = 14
_BAR: Ring = ((-ONE, -ONE), (ONE, -ONE), (ONE, ONE), (-ONE, ONE))


def bar(centre: tuple[int, int], half_length: int, half_width: int, angle: int) -> Ring:
    """A turned rectangle; lengths in scene units, angle in 1/256 of a turn."""
    cosine, sine = rotation(angle)
    matrix = (
        (cosine * half_length >> 12, -sine * half_width >> 12),
        (sine * half_length >> 12, cosine * half_width >> 12),
    )
    return transformed(_BAR, matrix, centre)


def pebble(draws: Draws, centre: tuple[int, int], half_length: int, half_width: int) -> Ring:
    """An irregular roundish outline, turned at random; lengths in scene units."""
    radii = [draws.between(ONE * 55 // 100, ONE) for _ in range(_NUM_PEBBLE_CORNERS)]
    outline: list[tuple[int, int]] = []
    for corner, radius in enumerate(radii):
        cosine, sine = rotation(corner * NUM_ANGLES // _NUM_PEBBLE_CORNERS)
        smooth = (radius + radii[corner - 1]) // 2
        outline.append((cosine * smooth >> 12, sine * smooth >> 12))
    cosine, sine = rotation(draws.between(1, NUM_ANGLES))
    matrix = (
        (cosine * half_length >> 12, -sine * half_width >> 12),
        (sine * half_length >> 12, cosine * half_width >> 12),
    )
    return transformed(tuple(outline), matrix, centre)


def draw_stripes(draws: Draws, palette: Palette) -> tuple[Patch, ...]:
    """Parallel stripes over the whole scene, a little off the background's grey level."""
    angle = draws.between(1, NUM_ANGLES)
    cosine, sine = rotation(angle)
    period = draws.between(UNIT * 8 // 100, UNIT * 25 // 100)
    shade = draws.between(4, 4 + palette.difference // 5)
    tone = colour(palette.background + shade, palette.background_hue, palette.chroma)
    reach = EXTENT * UNIT * 3 // 2  # corners of the scene lie 1.41 extents from its centre
    return tuple(
        Patch(bar((-sine * at >> 12, cosine * at >> 12), reach, period // 4, angle), tone)
        for at in range(-reach, reach, period)
    )


def draw_clutter(draws: Draws, palette: Palette, amount: float, radius: int) -> tuple[Patch, ...]:
    """Strokes, pebbles and specks, most of them in and near the central square.

    Args:
        draws: Source of the draws.
        palette: Colours of the scene.
        amount: The clutter factor, 0..1: 2 to 16 bits.
        radius: Radius of the object, in scene units: pebbles stay below half of it.
    """
    patches: list[Patch] = []
    for _ in range(2 + round(14 * amount)):
        kind = draws.between(0, 2)
        reach = UNIT * 55 // 100 if draws.chance(0.7) else EXTENT * UNIT
        x, y = draws.between(-reach, reach), draws.between(-reach, reach)
        tone = _clutter_colour(draws, palette)
        if kind == 0:
            half_length = draws.between(UNIT * 6 // 100, UNIT * 35 // 100)
            half_width = draws.between(UNIT * 5 // 1000, UNIT * 11 // 1000)
            angle = draws.between(1, NUM_ANGLES)
            patches.append(Patch(bar((x, y), half_length, half_width, angle), tone))
        elif kind == 1:
            half_length = draws.between(radius // 4, radius // 2)
            half_width = half_length * draws.between(35, 60) // 100
            patches.append(Patch(pebble(draws, (x, y), half_length, half_width), tone))
        else:
            size, spread = UNIT * 9 // 1000, UNIT // 10
            for _ in range(4):
                speck = (x + draws.between(-spread, spread), y + draws.between(-spread, spread))
                patches.append(Patch(bar(speck, size, size, NUM_ANGLES // 8), tone))
    return tuple(patches)


def _clutter_colour(draws: Draws, palette: Palette) -> Colour:
    """On the object's side of the background by at most 60 % of the contrast, or on the other."""
    share = draws.between(25, 60) * (1 if draws.chance(0.6) else -1)
    if draws.chance(palette.same_hue_share):
        hue = palette.object_hue
    else:
        hue = draws.between(0, NUM_HUES - 1)
    grey = palette.background + palette.difference * share // 100
    return colour(grey, hue, palette.chroma)
