"""Work of the stages of one actor: images, how many continued, seconds."""

from dataclasses import dataclass

__all__ = ["StageWork"]


@dataclass(frozen=True, slots=True)
class StageWork:
    """Work of one stage.

    Attributes:
        images: that ran.
        went_on: of these, images that continued to the next stage.
        seconds: for these images.
        audited: of the images, those of an audit, which continue in any case.
    """

    images: int = 0
    went_on: int = 0
    seconds: float = 0.0
    audited: int = 0

    def __add__(self, other: "StageWork") -> "StageWork":
        return StageWork(
            self.images + other.images,
            self.went_on + other.went_on,
            self.seconds + other.seconds,
            self.audited + other.audited,
        )
