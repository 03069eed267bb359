"""Colours by grey level and hue, in integers.

A colour is a grey level plus a step in one of 24 directions that do not change the grey level, so
contrast and hue are independent.
"""

from dataclasses import dataclass

__all__ = ["NUM_HUES", "Colour", "Palette", "colour"]

Colour = tuple[int, int, int]

NUM_HUES = 24


@dataclass(frozen=True, slots=True)
class Palette:
    """Grey levels and hues of a scene.

    Attributes:
        background: grey level of the background.
        difference: object minus background, in grey levels.
        background_hue: hue step of the background.
        object_hue: hue step of the object.
        chroma: saturation, 0..256.
        same_hue_share: probability, 0..1, that an item of clutter has the object's hue.
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
        grey: grey level, clamped to 12..243.
        hue: step on the wheel, modulo `NUM_HUES`.
        chroma: saturation, 0 (grey) to 256 (maximum, channels clipped to 0..255).
    """
    base = min(243, max(12, grey))
    red, green, blue = (
        min(255, max(0, base + (offset * chroma >> 8))) for offset in _DIRECTIONS[hue % NUM_HUES]
    )
    return red, green, blue
