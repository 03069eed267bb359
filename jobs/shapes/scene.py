"""A picture as a description: what lies where, in which colour, before there are any pixels.

Lengths and positions are integers in 1/65536 of the image's short side (`UNIT`), measured from the
image's centre, so one scene can be painted at any size. It reaches `EXTENT` short sides from the
centre in each direction; the labelled object lies inside the central square.

This module knows nothing of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.shapes.classes import CLASSES, NUM_ANGLES, ONE, OUTLINES, Ring, rotation
from jobs.shapes.clutter import draw_clutter, draw_stripes
from jobs.shapes.colours import NUM_HUES, Colour, Palette, colour
from jobs.shapes.draws import Draws
from jobs.shapes.factors import Factors, draw_factors
from jobs.shapes.geometry import UNIT, Patch, transformed
from jobs.shapes.occlusion import draw_occluder

__all__ = ["Scene", "draw_label_id", "draw_scene"]

_GRID_CELLS = (4, 6, 10, 16, 28)  # over the whole extent of two short sides


@dataclass(frozen=True, slots=True)
class Scene:
    """All that the painter needs.

    Attributes:
        label_id: Class of the object.
        factors: How hard the picture is, and why.
        grid: Background colours, uint8 [cells, cells, 3], spread over the whole extent.
        smooth: Whether the grid's colours flow into each other or stand as squares.
        behind: Stripes and clutter, painted before the object.
        rings: Outline of the object; the first ring filled, the others holes.
        fill: Colours at two opposite sides of the object.
        in_front: What covers a part of the object.
        blur_radius: In `UNIT`.
        noise_amplitude: Largest deviation, in grey levels.
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


def draw_label_id(draws: Draws) -> int:
    """The class, uniform over `CLASSES`: the first draw of a scene."""
    return draws.between(0, len(CLASSES) - 1)


def draw_scene(draws: Draws) -> Scene:
    """Draws one scene."""
    label_id = draw_label_id(draws)
    factors = draw_factors(draws)
    palette = _draw_palette(draws, factors)
    radius = round(UNIT * (0.40 - 0.22 * factors.size))
    rings = _draw_object(draws, label_id, radius)
    grid, smooth = _draw_grid(draws, palette)
    behind: tuple[Patch, ...] = ()
    if draws.chance(0.2):
        behind = draw_stripes(draws, palette)
    behind += draw_clutter(draws, palette, factors.clutter, radius)
    in_front: tuple[Patch, ...] = ()
    if factors.occlusion > 0.1:
        # A small object loses its shape sooner: it is covered by half as much.
        amount = factors.occlusion * (1 - factors.size / 2)
        in_front = (draw_occluder(draws, palette, rings, radius, amount),)
    grey = palette.background + palette.difference
    lean = draws.between(-1, 1) * palette.difference // 8
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
        # Blur and noise follow the object's size and contrast: together they make a picture hard,
        # never hopeless.
        blur_radius=round(0.12 * radius * max(0.0, factors.blur - 0.2) / 0.8),
        noise_amplitude=round(
            max(0.0, factors.noise - 0.1) / 0.9 * (14 + 0.45 * palette.difference)
        ),
    )


def _draw_palette(draws: Draws, factors: Factors) -> Palette:
    difference = round(150 - 110 * factors.contrast)
    # The object is the lighter one, as if a flash had lit it: what there is to learn is outlines,
    # and two CPU cores must learn it in minutes.
    low, high = 25, 228 - difference
    background_hue = draws.between(0, NUM_HUES - 1)
    turn = round(NUM_HUES / 2 * (1 - factors.colour)) * draws.sign()
    return Palette(
        background=draws.between(low, high),
        difference=difference,
        background_hue=background_hue,
        object_hue=background_hue + turn,
        chroma=draws.between(20, 110),
        same_hue_share=factors.colour,
    )


def _draw_object(draws: Draws, label_id: int, radius: int) -> tuple[Ring, ...]:
    """Places the class's outline: mirrored or not, squeezed by up to 8 %, tilted, moved.

    Tilts stay below 12 degrees and moves below a twelfth of the short side, as in photographs,
    where people hold the camera upright and aim at what they want.
    """
    tilt = NUM_ANGLES * 12 // 360
    cosine, sine = rotation(draws.between(-tilt, tilt) % NUM_ANGLES)
    squeeze = ONE - draws.between(0, ONE * 8 // 100)
    mirror = draws.sign()
    room = min(UNIT * 49 // 100 - radius, UNIT // 12)
    centre = (draws.between(-room, room), draws.between(-room, room))
    matrix = (
        (cosine * mirror * radius >> 12, -sine * squeeze * radius >> 24),
        (sine * mirror * radius >> 12, cosine * squeeze * radius >> 24),
    )
    return tuple(transformed(ring, matrix, centre) for ring in OUTLINES[label_id])


def _draw_grid(draws: Draws, palette: Palette) -> tuple[NDArray[np.uint8], bool]:
    """Background colours: plain, gradient, clouds or a mosaic, by the grid and its amplitude."""
    cells = _GRID_CELLS[draws.between(0, len(_GRID_CELLS) - 1)]
    amplitude = draws.between(2, 2 + palette.difference // 4)
    base = np.array(colour(palette.background, palette.background_hue, palette.chroma))
    shade = draws.grid(amplitude, (cells, cells, 1))
    tint = draws.grid(amplitude, (cells, cells, 3)) // 3
    grid = np.clip(base + shade + tint, 0, 255).astype(np.uint8)
    return grid, draws.chance(0.85)
