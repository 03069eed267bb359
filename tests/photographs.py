"""Pictures with the statistics of photographs: smooth light, hard edges, fine noise."""

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["PHOTOGRAPH_SIZES", "photograph"]

PHOTOGRAPH_SIZES = (
    *[(640, 480), (480, 640), (1024, 683), (683, 1024), (500, 375), (375, 500)],
    *[(800, 800), (1280, 720), (320, 213), (275, 183), (1200, 301), (333, 1000)],
)


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of a size in pixels; the same for the same seed."""
    random = np.random.default_rng((seed, width, height))
    light = random.integers(40, 220, (5, 4, 3)).astype(np.uint8)
    picture = Image.fromarray(light).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        left, right = sorted(random.integers(0, width, 2).tolist())
        top, bottom = sorted(random.integers(0, height, 2).tolist())
        colour = tuple(random.integers(0, 256, 3).tolist())
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((left, top, right, bottom), fill=colour)
    noise = random.normal(0.0, 6.0, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))
