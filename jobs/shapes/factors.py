"""What makes a picture hard: seven factors in 0..1, and how they are drawn.

Most pictures are easy (60 %), some are middling in two or three factors (28 %), and a tail is hard
in two or three (12 %). No picture is hard in more than three, so a person who looks at it at 64x64
pixels can still tell the class.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from jobs.shapes.draws import Draws

__all__ = ["FACTOR_NAMES", "Factors", "draw_factors"]

EASY_SHARE = 0.60
MIDDLE_SHARE = 0.28

# How much a factor at 1 alone adds to the difficulty: the size costs an image classifier most.
_WEIGHTS = {
    "size": 0.50,
    "clutter": 0.25,
    "occlusion": 0.25,
    "contrast": 0.35,
    "blur": 0.40,
    "noise": 0.30,
    "colour": 0.15,
}


@dataclass(frozen=True, slots=True)
class Factors:
    """One number in 0..1 for each way a picture can be hard; 0 is easy.

    Attributes:
        size: 0: the object spans 80 % of the short side; 1: 36 %.
        clutter: Amount of strokes, pebbles and specks behind the object, 2 to 16 of them.
        occlusion: Covered part of the object, from nothing up to 20 % (10 % of the smallest).
        contrast: 0: the object differs from the background by 150 grey levels; 1: by 40.
        blur: Radius of the blur, up to 12 % of the object's radius.
        noise: Amplitude of the noise, relative to the contrast.
        colour: 0: the object's hue is opposite to the background's; 1: object, clutter and
            background share one hue.
    """

    size: float
    clutter: float
    occlusion: float
    contrast: float
    blur: float
    noise: float
    colour: float

    @property
    def difficulty(self) -> float:
        """All factors in one number in 0..1.

        1 - prod(1 - weight * factor), divided by its value where all factors are 1: each factor
        takes its share of what the others have left of an easy picture.
        """
        left, least = 1.0, 1.0
        for name, weight in _WEIGHTS.items():
            left *= 1.0 - weight * float(getattr(self, name))
            least *= 1.0 - weight
        return (1.0 - left) / (1.0 - least)


FACTOR_NAMES: tuple[str, ...] = tuple(field.name for field in fields(Factors))


def draw_factors(draws: Draws) -> Factors:
    """Draws the factors of one picture."""
    tier = draws.share()
    values = [0.3 * draws.share() for _ in FACTOR_NAMES]
    if tier >= EASY_SHARE:
        middling = tier < EASY_SHARE + MIDDLE_SHARE
        low, span = (0.3, 0.35) if middling else (0.55, 0.35)
        for factor in draws.order(len(FACTOR_NAMES))[: draws.between(2, 3)]:
            values[factor] = low + span * draws.share()
    return Factors(*values)
