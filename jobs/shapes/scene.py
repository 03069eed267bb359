"""The scene of an image: objects, positions and colours, independent of its size in pixels.

Lengths and positions are integers in 1/65536 of the image's short side (`UNIT`), from its centre. A
scene extends `EXTENT` short sides from the centre in each direction; the labelled object lies in
the central square.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.shapes.classes import CLASSES, OUTLINES
from jobs.shapes.clutter import draw_clutter, draw_stripes
from jobs.shapes.colours import NUM_HUES, Colour, Palette, colour
from jobs.shapes.factors import Factors, draw_factors
from jobs.shapes.geometry import NUM_ANGLES, ONE, UNIT, Patch, Ring, rotation, transform
from jobs.shapes.occlusion import draw_occluder
from jobs.shapes.random_stream import RandomStream

__all__ = ["Scene", "draw_label_id", "draw_scene"]

_GRID_CELLS = (4, 6, 10, 16, 28)  # over the whole extent of two short sides


@dataclass(frozen=True, slots=True)
class Scene:
    """Description of one image.

    Attributes:
        label_id: class of the object.
        factors: difficulty of the image.
        grid: background colours, uint8 [cells, cells, 3], over the whole extent.
        smooth: whether the grid is interpolated or shown as squares.
        behind: stripes and clutter, painted before the object.
        rings: outline of the object; the first ring filled, the others holes.
        fill: colours at two opposite sides of the object.
        in_front: occluders.
        blur_radius: in `UNIT`.
        noise_amplitude: largest deviation, in grey levels.
    """

    label_id: int
    factors: Factors
    grid: NDArray[np.uint8]
    smooth: bool
    behind: tuple[Patch, ...]
    rings: tuple[Ring, ...]
    fill: tuple[Colour, Colour]
    in_front: tuple[Patch, ...]
    blur_radius: int
    noise_amplitude: int


def draw_label_id(random: RandomStream) -> int:
    """Draws the class, uniform over `CLASSES`; the first draw of a scene."""
    return random.between(0, len(CLASSES) - 1)


def draw_scene(random: RandomStream) -> Scene:
    """Draws one scene."""
    label_id = draw_label_id(random)
    factors = draw_factors(random)
    palette = _draw_palette(random, factors)
    radius = round(UNIT * (0.40 - 0.22 * factors.size))
    rings = _draw_object(random, label_id, radius)
    grid, smooth = _draw_grid(random, palette)
    behind: tuple[Patch, ...] = ()
    if random.chance(0.2):
        behind = draw_stripes(random, palette)
    behind += draw_clutter(random, palette, factors.clutter, radius)
    in_front: tuple[Patch, ...] = ()
    if factors.occlusion > 0.1:
        # A small object loses its shape sooner, so the smallest are covered half as much.
        amount = factors.occlusion * (1 - factors.size / 2)
        in_front = (draw_occluder(random, palette, rings, radius, amount),)
    grey = palette.background + palette.difference
    lean = random.between(-1, 1) * palette.difference // 8
    return Scene(
        label_id=label_id,
        factors=factors,
        grid=grid,
        smooth=smooth,
        behind=behind,
        rings=rings,
        fill=(
            colour(grey + lean, palette.object_hue, palette.chroma),
            colour(grey - lean, palette.object_hue, palette.chroma),
        ),
        in_front=in_front,
        # Relative to the object's size and contrast, so that both together stay solvable.
        blur_radius=round(0.12 * radius * max(0.0, factors.blur - 0.2) / 0.8),
        noise_amplitude=round(
            max(0.0, factors.noise - 0.1) / 0.9 * (14 + 0.45 * palette.difference)
        ),
    )


def _draw_palette(random: RandomStream, factors: Factors) -> Palette:
    difference = round(150 - 110 * factors.contrast)
    # The object is always brighter: two CPU cores must learn the classes in minutes.
    low, high = 25, 228 - difference
    background_hue = random.between(0, NUM_HUES - 1)
    turn = round(NUM_HUES / 2 * (1 - factors.colour)) * random.sign()
    return Palette(
        background=random.between(low, high),
        difference=difference,
        background_hue=background_hue,
        object_hue=background_hue + turn,
        chroma=random.between(20, 110),
        same_hue_share=factors.colour,
    )


def _draw_object(random: RandomStream, label_id: int, radius: int) -> tuple[Ring, ...]:
    """Places the class's outline: mirrored or not, squeezed by up to 8 %, tilted and shifted.

    As in photographs, tilts stay below 12 degrees and shifts below a twelfth of the short side.
    """
    tilt = NUM_ANGLES * 12 // 360
    cosine, sine = rotation(random.between(-tilt, tilt) % NUM_ANGLES)
    squeeze = ONE - random.between(0, ONE * 8 // 100)
    mirror = random.sign()
    room = min(UNIT * 49 // 100 - radius, UNIT // 12)
    centre = (random.between(-room, room), random.between(-room, room))
    matrix = (
        (cosine * mirror * radius >> 12, -sine * squeeze * radius >> 24),
        (sine * mirror * radius >> 12, cosine * squeeze * radius >> 24),
    )
    return tuple(transform(ring, matrix, centre) for ring in OUTLINES[label_id])


def _draw_grid(random: RandomStream, palette: Palette) -> tuple[NDArray[np.uint8], bool]:
    """Draws the background: plain, gradient, clouds or mosaic, by cell count and amplitude."""
    cells = _GRID_CELLS[random.between(0, len(_GRID_CELLS) - 1)]
    amplitude = random.between(2, 2 + palette.difference // 4)
    base = np.array(colour(palette.background, palette.background_hue, palette.chroma))
    shade = random.grid(amplitude, (cells, cells, 1))
    tint = random.grid(amplitude, (cells, cells, 3)) // 3
    grid = np.clip(base + shade + tint, 0, 255).astype(np.uint8)
    return grid, random.chance(0.85)
