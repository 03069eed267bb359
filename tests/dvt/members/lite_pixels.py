"""Networks and pixels for the tests of this folder."""

import torch
from torch import Tensor
from torch.nn import functional as F

LITE0, LITE2 = "efficientnet_lite0", "efficientnet_lite2"


def random_pixels(num_images: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(side)
    small = torch.rand(num_images, 3, 9, 9, generator=generator)
    smooth = F.interpolate(small, size=(side, side), mode="bicubic").clamp(0, 1)
    return (smooth * 255).byte().permute(0, 2, 3, 1).contiguous()
