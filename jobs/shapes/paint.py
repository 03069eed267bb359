"""Paints a scene, with the same pixels on every machine.

Uses only Pillow operations in integers or fixed point: polygons at integer corners, `reduce`,
`resize`, `paste` through a mask, box blur. The canvas has a short side of 192 to 479 pixels;
smaller images are reduced from it, larger ones enlarged. Only the object's mask is supersampled.
Blur radius and noise grain scale with the image.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from jobs.shapes.classes import CLASSES
from jobs.shapes.geometry import EXTENT, UNIT, Patch, Ring
from jobs.shapes.random_stream import RandomStream
from jobs.shapes.scene import Scene, draw_label_id, draw_scene

__all__ = ["Sample", "check_size", "label_of", "render"]

_SMALLEST_SIDE_PX = 16
_SMALLEST_CANVAS_PX = 192
# From here on, images are painted at an integer fraction of their size, in a third of the time.
_ENLARGED_FROM_PX = 240
_MASK_SUPERSAMPLING = 2
_NOISE_CELLS = 112  # over the short side


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    Attributes:
        image: RGB, of the requested size.
        label_id: index into `CLASSES`.
        label: name of the class.
    """

    image: Image.Image
    label_id: int
    label: str


def check_size(width: int, height: int) -> None:
    """Checks an image size.

    Raises:
        ValueError: a side is below 16 pixels, or the long side more than twice the short one.
    """
    if min(width, height) < _SMALLEST_SIDE_PX:
        raise ValueError(
            f"size: must be at least {_SMALLEST_SIDE_PX} pixels per side (got {width}x{height})"
        )
    if max(width, height) > 2 * EXTENT * min(width, height):
        raise ValueError(
            f"size: the long side must be at most twice the short (got {width}x{height})"
        )


def label_of(seed: int, index: int) -> str:
    """The class of the image that `render` returns, without painting it."""
    return CLASSES[draw_label_id(RandomStream(seed, index))]


def render(seed: int, index: int, width: int, height: int) -> Sample:
    """Renders image `index` of the data set `seed`.

    The scene depends on (seed, index) alone: another size shows the same scene, and resizing the
    central squares of both to 64x64 gives nearly the same pixels.

    Args:
        seed: of the data set, from 0.
        index: in the data set, from 0.
        width: in pixels, at least 16.
        height: in pixels, at least 16; the long side is at most twice the short one.

    Raises:
        ValueError: a value is out of bounds.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed, index: must be at least 0 (got {seed}, {index})")
    check_size(width, height)
    short_px = min(width, height)
    random = RandomStream(seed, index)
    scene = draw_scene(random)
    zoom = -(-_SMALLEST_CANVAS_PX // short_px)
    shrink = max(1, short_px // _ENLARGED_FROM_PX)
    canvas = _background(scene, -(-width * zoom // shrink), -(-height * zoom // shrink))
    _paint_patches(canvas, scene.behind)
    _paint_object(canvas, scene)
    _paint_patches(canvas, scene.in_front)
    if zoom > 1:
        canvas = canvas.reduce(zoom)
    canvas = _blurred(canvas, scene.blur_radius)
    canvas = _with_noise(canvas, scene.noise_amplitude, random)
    if shrink > 1:
        box = (0, 0, width / shrink, height / shrink)
        canvas = canvas.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return Sample(image=canvas, label_id=scene.label_id, label=CLASSES[scene.label_id])


def _to_pixels(ring: Ring, width: int, height: int) -> list[tuple[int, int]]:
    """Converts scene units to the pixels of a canvas with the same centre."""
    short_px = min(width, height)
    middle_x, middle_y = width * UNIT // 2, height * UNIT // 2
    return [((x * short_px + middle_x) >> 16, (y * short_px + middle_y) >> 16) for x, y in ring]


def _enlarged(
    grid: Image.Image, cells: int, size: tuple[int, int], method: Image.Resampling
) -> Image.Image:
    """Resizes a grid with `cells` per short side to an image, centres aligned."""
    width, height = size
    half_x = cells * width / (2 * min(size))
    half_y = cells * height / (2 * min(size))
    x, y = grid.width / 2, grid.height / 2
    return grid.resize(size, method, box=(x - half_x, y - half_y, x + half_x, y + half_y))


def _background(scene: Scene, width: int, height: int) -> Image.Image:
    grid = Image.fromarray(scene.grid)
    method = Image.Resampling.BICUBIC if scene.smooth else Image.Resampling.NEAREST
    return _enlarged(grid, grid.width // (2 * EXTENT), (width, height), method)


def _paint_patches(canvas: Image.Image, patches: tuple[Patch, ...]) -> None:
    draw = ImageDraw.Draw(canvas)
    for patch in patches:
        draw.polygon(_to_pixels(patch.corners, canvas.width, canvas.height), fill=patch.colour)


def _paint_object(canvas: Image.Image, scene: Scene) -> None:
    zoom = _MASK_SUPERSAMPLING
    rings = [_to_pixels(ring, canvas.width * zoom, canvas.height * zoom) for ring in scene.rings]
    left = min(x for x, _ in rings[0]) // zoom
    top = min(y for _, y in rings[0]) // zoom
    width = max(x for x, _ in rings[0]) // zoom + 1 - left
    height = max(y for _, y in rings[0]) // zoom + 1 - top
    mask = Image.new("L", (width * zoom, height * zoom), 0)
    draw = ImageDraw.Draw(mask)
    for number, ring in enumerate(rings):
        corners = [(x - left * zoom, y - top * zoom) for x, y in ring]
        draw.polygon(corners, fill=0 if number else 255)
    fill = Image.new("RGB", (1, 2), scene.fill[0])
    fill.putpixel((0, 1), scene.fill[1])
    canvas.paste(
        fill.resize((width, height), Image.Resampling.BILINEAR), (left, top), mask.reduce(zoom)
    )


def _blurred(image: Image.Image, radius: int) -> Image.Image:
    """Two box blurs, which approximate a Gaussian."""
    radius_px = radius * min(image.size) * 64 // UNIT / 64
    if radius_px < 0.25:
        return image
    box = ImageFilter.BoxBlur(radius_px)
    return image.filter(box).filter(box)


def _with_noise(image: Image.Image, amplitude: int, random: RandomStream) -> Image.Image:
    """Adds noise in all channels; its grain is a fixed share of the image."""
    if amplitude == 0:
        return image
    cells = _NOISE_CELLS
    scaled = (128 + (np.arange(256) - 128) * amplitude // 128).astype(np.uint8)
    field = scaled[random.levels((cells, cells, 3))]
    if image.width != image.height:
        # The wings are drawn last, so that all sizes share the central square.
        wide = image.width > image.height
        wing = (cells, cells // 2, 3) if wide else (cells // 2, cells, 3)
        before, after = (scaled[random.levels(wing)] for _ in range(2))
        field = np.concatenate((before, field, after), axis=1 if wide else 0)
    grid = Image.fromarray(field)
    grain = _enlarged(grid, cells, image.size, Image.Resampling.BILINEAR)
    return ImageChops.add(image, grain, 1, -128)
