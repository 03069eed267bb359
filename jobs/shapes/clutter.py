"""Distractions behind the object: stripes, strokes, pebbles and specks.

None can be mistaken for a class: strokes are thin; pebbles are elongated, irregular, at most half
as long as the object, and contrast less with the background.
"""

from jobs.shapes.colours import NUM_HUES, Colour, Palette, colour
from jobs.shapes.geometry import (
    EXTENT,
    NUM_ANGLES,
    ONE,
    UNIT,
    Matrix,
    Patch,
    Ring,
    rotation,
    transform,
)
from jobs.shapes.random_stream import RandomStream

__all__ = ["bar", "draw_clutter", "draw_stripes", "pebble"]

_NUM_PEBBLE_CORNERS = 14
_BAR: Ring = ((-ONE, -ONE), (ONE, -ONE), (ONE, ONE), (-ONE, ONE))


def bar(centre: tuple[int, int], half_length: int, half_width: int, angle: int) -> Ring:
    """A turned rectangle; lengths in scene units, angle in 1/256 of a turn."""
    return transform(_BAR, _scaled_rotation(angle, half_length, half_width), centre)


def pebble(
    random: RandomStream, centre: tuple[int, int], half_length: int, half_width: int
) -> Ring:
    """An irregular roundish outline at a random angle; lengths in scene units."""
    radii = [random.between(ONE * 55 // 100, ONE) for _ in range(_NUM_PEBBLE_CORNERS)]
    outline: list[tuple[int, int]] = []
    for corner, radius in enumerate(radii):
        cosine, sine = rotation(corner * NUM_ANGLES // _NUM_PEBBLE_CORNERS)
        smooth = (radius + radii[corner - 1]) // 2
        outline.append((cosine * smooth >> 12, sine * smooth >> 12))
    matrix = _scaled_rotation(random.between(1, NUM_ANGLES), half_length, half_width)
    return transform(tuple(outline), matrix, centre)


def _scaled_rotation(angle: int, half_length: int, half_width: int) -> Matrix:
    cosine, sine = rotation(angle)
    return (
        (cosine * half_length >> 12, -sine * half_width >> 12),
        (sine * half_length >> 12, cosine * half_width >> 12),
    )


def draw_stripes(random: RandomStream, palette: Palette) -> tuple[Patch, ...]:
    """Parallel stripes over the whole scene, slightly brighter than the background."""
    angle = random.between(1, NUM_ANGLES)
    cosine, sine = rotation(angle)
    period = random.between(UNIT * 8 // 100, UNIT * 25 // 100)
    shade = random.between(4, 4 + palette.difference // 5)
    tone = colour(palette.background + shade, palette.background_hue, palette.chroma)
    reach = EXTENT * UNIT * 3 // 2  # the scene's corners are 1.41 extents from its centre
    return tuple(
        Patch(bar((-sine * at >> 12, cosine * at >> 12), reach, period // 4, angle), tone)
        for at in range(-reach, reach, period)
    )


def draw_clutter(
    random: RandomStream, palette: Palette, amount: float, radius: int
) -> tuple[Patch, ...]:
    """Strokes, pebbles and specks, most of them in and near the central square.

    Args:
        random: of the scene.
        palette: of the scene.
        amount: the clutter factor, 0..1, for 2 to 16 items.
        radius: of the object, in scene units; pebbles are at most half as long.
    """
    patches: list[Patch] = []
    for _ in range(2 + round(14 * amount)):
        kind = random.between(0, 2)
        reach = UNIT * 55 // 100 if random.chance(0.7) else EXTENT * UNIT
        x, y = random.between(-reach, reach), random.between(-reach, reach)
        tone = _clutter_colour(random, palette)
        if kind == 0:
            half_length = random.between(UNIT * 6 // 100, UNIT * 35 // 100)
            half_width = random.between(UNIT * 5 // 1000, UNIT * 11 // 1000)
            angle = random.between(1, NUM_ANGLES)
            patches.append(Patch(bar((x, y), half_length, half_width, angle), tone))
        elif kind == 1:
            half_length = random.between(radius // 4, radius // 2)
            half_width = half_length * random.between(35, 60) // 100
            patches.append(Patch(pebble(random, (x, y), half_length, half_width), tone))
        else:
            size, spread = UNIT * 9 // 1000, UNIT // 10
            for _ in range(4):
                speck = (x + random.between(-spread, spread), y + random.between(-spread, spread))
                patches.append(Patch(bar(speck, size, size, NUM_ANGLES // 8), tone))
    return tuple(patches)


def _clutter_colour(random: RandomStream, palette: Palette) -> Colour:
    """Brighter or darker than the background, by at most 60 % of the object's contrast."""
    share = random.between(25, 60) * (1 if random.chance(0.6) else -1)
    if random.chance(palette.same_hue_share):
        hue = palette.object_hue
    else:
        hue = random.between(0, NUM_HUES - 1)
    grey = palette.background + palette.difference * share // 100
    return colour(grey, hue, palette.chroma)
