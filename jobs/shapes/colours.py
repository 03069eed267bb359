"""Colours by grey level and hue, in integers.

A colour is a grey level plus a step along one of 24 directions that leave the grey level as it is,
so contrast (grey level) and confusion of hues can be set apart from each other.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NUM_HUES", "Colour", "Palette", "colour"]

Colour = tuple[int, int, int]

NUM_HUES = 24


@dataclass(frozen=True, slots=True)
class Palette:
    """Grey levels and hues that a scene's layers share.

    Attributes:
        background: Grey level of the background.
        difference: Object minus background, in grey levels; its sign says which is darker.
        background_hue: Hue step of the background.
        object_hue: Hue step of the object.
        chroma: Saturation of all layers, 0..256.
        same_hue_share: Chance, 0..1, that a bit of clutter has the object's hue.
    """

    background: int
    difference: int
    background_hue: int
    object_hue: int
    chroma: int
    same_hue_share: float


def _direction(hue: int) -> Colour:
    """RGB offset of the fully saturated hue from its own grey level (Rec. 601 weights)."""
    position = 6 * 255 * hue // NUM_HUES
    channels = [
        min(255, max(0, abs((position + shift) % 1530 - 765) - 255)) for shift in (0, 1020, 510)
    ]
    grey = (77 * channels[0] + 150 * channels[1] + 29 * channels[2]) >> 8
    return channels[0] - grey, channels[1] - grey, channels[2] - grey


_DIRECTIONS: tuple[Colour, ...] = tuple(_direction(hue) for hue in range(NUM_HUES))


def colour(grey: int, hue: int, chroma: int) -> Colour:
    """The RGB colour with a given grey level.

    Args:
        grey: Grey level; kept within 12..243.
        hue: Step on the wheel of `NUM_HUES`, taken modulo it.
        chroma: Saturation, 0 (grey) .. 256 (as far as the hue goes, clipped to 0..255).
    """
    base = min(243, max(12, grey))
    red, green, blue = _DIRECTIONS[hue % NUM_HUES]
    return (
        min(255, max(0, base + (red * chroma >> 8))),
        min(255, max(0, base + (green * chroma >> 8))),
        min(255, max(0, base + (blue * chroma >> 8))),
    )
