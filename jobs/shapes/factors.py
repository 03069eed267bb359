"""Difficulty of an image: seven factors in 0..1 and their distribution.

60 % of the images are easy, 28 % are moderate in two or three factors, and 12 % are hard in two or
three. No image is hard in more than three, so a person recognises the class at 64x64 pixels.
"""

from dataclasses import dataclass, fields

from jobs.shapes.random_stream import RandomStream

__all__ = ["FACTOR_NAMES", "Factors", "draw_factors"]

EASY_SHARE = 0.60
MODERATE_SHARE = 0.28


@dataclass(frozen=True, slots=True)
class Factors:
    """The factors; 0 is easy.

    Attributes:
        size: 0: the object spans 80 % of the short side; 1: 36 %.
        clutter: amount of strokes, pebbles and specks behind the object, 2 to 16 of them.
        occlusion: covered part of the object, up to 20 % (10 % of the smallest).
        contrast: 0: the object differs from the background by 150 grey levels; 1: by 40.
        blur: radius of the blur, up to 12 % of the object's radius.
        noise: amplitude of the noise, relative to the contrast.
        colour: 0: the object's hue is opposite to the background's; 1: object, clutter and
            background have the same hue.
    """

    size: float
    clutter: float
    occlusion: float
    contrast: float
    blur: float
    noise: float
    colour: float


FACTOR_NAMES: tuple[str, ...] = tuple(field.name for field in fields(Factors))


def draw_factors(random: RandomStream) -> Factors:
    """Draws the factors of one image."""
    tier = random.share()
    values = [0.3 * random.share() for _ in FACTOR_NAMES]
    if tier >= EASY_SHARE:
        is_moderate = tier < EASY_SHARE + MODERATE_SHARE
        low, span = (0.3, 0.35) if is_moderate else (0.55, 0.35)
        for factor in random.order(len(FACTOR_NAMES))[: random.between(2, 3)]:
            values[factor] = low + span * random.share()
    return Factors(*values)
