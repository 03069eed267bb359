"""A bar or pebble in front of the object, covering a bounded part of it."""

from PIL import Image, ImageChops, ImageDraw

from jobs.shapes.clutter import bar, pebble
from jobs.shapes.colours import NUM_HUES, Palette, colour
from jobs.shapes.geometry import NUM_ANGLES, Patch, Ring, rotation
from jobs.shapes.random_stream import RandomStream

__all__ = ["LARGEST_COVER", "draw_occluder"]

LARGEST_COVER = 0.20
"""Largest covered share of the object's area."""

# Side of the raster that measures the cover, independent of the image's size.
_RASTER_PX = 64


def draw_occluder(
    random: RandomStream,
    palette: Palette,
    rings: tuple[Ring, ...],
    radius: int,
    amount: float,
) -> Patch:
    """Draws an occluder and shrinks it until it covers no more than `amount` allows.

    Args:
        random: of the scene.
        palette: of the scene.
        rings: outline of the object, in scene units.
        radius: of the object, in scene units.
        amount: 0..1; at 1, up to `LARGEST_COVER` may be covered.
    """
    xs = [x for x, _ in rings[0]]
    ys = [y for _, y in rings[0]]
    middle = ((min(xs) + max(xs)) // 2, (min(ys) + max(ys)) // 2)
    cosine, sine = rotation(random.between(1, NUM_ANGLES))
    distance = radius * random.between(0, 85) // 100
    centre = (middle[0] + (cosine * distance >> 12), middle[1] + (sine * distance >> 12))
    share = random.between(30, 60) * random.sign()
    hue = random.between(0, NUM_HUES - 1)
    tone = colour(palette.background + palette.difference * share // 100, hue, palette.chroma)
    half_width = radius * round(8 + 20 * amount) // 100
    if random.chance(0.6):
        half_length = radius * random.between(90, 160) // 100
        corners = bar(centre, half_length, half_width, random.between(1, NUM_ANGLES))
    else:
        corners = pebble(random, centre, half_width * 5 // 2, half_width * 3 // 2)
    shape = _raster(rings, middle, radius)
    allowed = LARGEST_COVER * amount * shape.histogram()[255]
    while _covered(shape, corners, middle, radius) > allowed:
        corners = _shrunk(corners, centre)
    return Patch(corners, tone)


def _raster(rings: tuple[Ring, ...], middle: tuple[int, int], radius: int) -> Image.Image:
    mask = Image.new("L", (_RASTER_PX, _RASTER_PX), 0)
    draw = ImageDraw.Draw(mask)
    for number, ring in enumerate(rings):
        draw.polygon(
            [
                (
                    ((x - middle[0]) * _RASTER_PX // (2 * radius)) + _RASTER_PX // 2,
                    ((y - middle[1]) * _RASTER_PX // (2 * radius)) + _RASTER_PX // 2,
                )
                for x, y in ring
            ],
            fill=0 if number else 255,
        )
    return mask


def _covered(shape: Image.Image, corners: Ring, middle: tuple[int, int], radius: int) -> int:
    occluder = _raster((corners,), middle, radius)
    return ImageChops.darker(shape, occluder).histogram()[255]


def _shrunk(corners: Ring, centre: tuple[int, int]) -> Ring:
    x0, y0 = centre
    return tuple((x0 + (x - x0) * 4 // 5, y0 + (y - y0) * 4 // 5) for x, y in corners)
