"""The input of each member, cut and resized from pixels that were decoded once for all.

A member sees the centre of a picture: `image_size` of `resize` pixels of the short side. The shared
pixels show as much of the picture as the member that sees most, at the resolution of the one that
needs most. Shapes: B images, S pixels per side of the shared pixels, s of a member's input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.config import Preprocess
from dvt.model import ModelSpec

__all__ = ["InputBox", "shared_input"]

_ROUNDING = 1.01  # sides in whole pixels make equal shares of a picture differ by so much


@dataclass(frozen=True, slots=True)
class InputBox:
    """The centre of the shared pixels that is one member's input.

    Attributes:
        side: of the centre, in shared pixels.
        size: s, side of the member's input.
        interpolation: of the resizing.
    """

    side: int
    size: int
    interpolation: Literal["bicubic", "bilinear"]

    def apply(self, pixels_BSS3: Tensor) -> Tensor:
        """Crops and resizes uint8 pixels to [B, s, s, 3]."""
        start = (pixels_BSS3.shape[1] - self.side) // 2
        if self.side != pixels_BSS3.shape[1]:
            pixels_BSS3 = pixels_BSS3[
                :, start : start + self.side, start : start + self.side
            ].contiguous()
        if self.size == self.side:
            return pixels_BSS3
        # The layout of the memory is NHWC already, which torch calls channels last.
        images_B3SS = pixels_BSS3.permute(0, 3, 1, 2)
        if images_B3SS.is_cuda:  # has no kernel for uint8
            resized = self._resized(images_B3SS.float()).round_().clamp_(0, 255)
            return resized.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return self._resized(images_B3SS).permute(0, 2, 3, 1).contiguous()

    def _resized(self, images_B3SS: Tensor) -> Tensor:
        size = (self.size, self.size)
        return F.interpolate(images_B3SS, size, mode=self.interpolation, antialias=True)


def shared_input(specs: Sequence[ModelSpec]) -> tuple[int, Preprocess, tuple[InputBox, ...]]:
    """The pixels to decode for several models.

    Args:
        specs: of the members; the last one's interpolation is that of decoding.

    Returns:
        S, how a picture becomes these pixels, and the input of each member within them.
    """
    finest = max(specs, key=lambda spec: spec.preprocess.resize)
    resize = finest.preprocess.resize
    # Sides of all inputs in pixels of the finest member's resizing.
    sides = [spec.image_size * resize / spec.preprocess.resize for spec in specs]
    size = finest.image_size
    if max(sides) > size * _ROUNDING:
        size = round(max(sides))
    boxes = tuple(
        InputBox(
            side=size if side * _ROUNDING > size else round(side),
            size=spec.image_size,
            interpolation=spec.preprocess.interpolation,
        )
        for spec, side in zip(specs, sides, strict=True)
    )
    preprocess = Preprocess(resize=resize, interpolation=specs[-1].preprocess.interpolation)
    return size, preprocess, boxes
