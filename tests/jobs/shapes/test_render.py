"""Images of the `shapes` data set: the same on every machine, at every size, and solvable."""

import hashlib

import numpy as np
import pytest
from PIL import Image

import jobs.shapes
from jobs.shapes import CLASSES, render
from jobs.shapes.classes import OUTLINES
from jobs.shapes.factors import FACTOR_NAMES
from jobs.shapes.geometry import ONE, UNIT
from jobs.shapes.random_stream import RandomStream
from jobs.shapes.scene import draw_scene

# A change invalidates every number measured on `shapes`.
PINNED = "280cb87c39e5204ad0840a59ea367f4976f59aa2b45f41f846817525ad4bd55c"


def central_square_64px(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The central square at 64 px, float64 [64, 64, 3] in 0..255."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.resize(
        (64, 64), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    return np.asarray(square).astype(np.float64)


def test_public_names_are_those_listed() -> None:
    for name in jobs.shapes.__all__:
        assert hasattr(jobs.shapes, name)


def test_pixels_are_the_same_on_every_machine() -> None:
    digest = hashlib.sha256()
    for index, size in enumerate([(96, 96), (64, 64), (320, 240), (240, 320), (640, 480)] * 4):
        digest.update(render(7, index, *size).image.tobytes())
    assert digest.hexdigest() == PINNED


def test_a_sample_is_determined_by_seed_and_index() -> None:
    assert render(3, 5, 96, 96) == render(3, 5, 96, 96)
    assert render(3, 5, 96, 96).image.tobytes() != render(3, 6, 96, 96).image.tobytes()
    assert render(3, 5, 96, 96).image.tobytes() != render(4, 5, 96, 96).image.tobytes()


@pytest.mark.parametrize("size", [(64, 64), (100, 75), (192, 192), (480, 640), (1024, 768)])
def test_another_size_shows_the_same_scene(size: tuple[int, int]) -> None:
    differences = []
    for index in range(12):
        reference, other = render(0, index, 256, 256), render(0, index, *size)
        assert other.label_id == reference.label_id
        assert other.image.size == size
        gap = central_square_64px(other.image) - central_square_64px(reference.image)
        differences.append(np.abs(gap).mean())
    assert max(differences) < 6
    assert np.mean(differences) < 3


def test_a_sample_names_its_class() -> None:
    sample = render(0, 0, 64, 64)
    assert sample.label == CLASSES[sample.label_id]
    assert sample.image.mode == "RGB"


def test_classes_are_fourteen_in_alphabetical_order() -> None:
    assert len(CLASSES) == 14
    assert list(CLASSES) == sorted(CLASSES)


def test_outlines_lie_in_the_unit_circle() -> None:
    for name, outline in zip(CLASSES, OUTLINES, strict=True):
        reach = max(x * x + y * y for ring in outline for x, y in ring) ** 0.5
        assert 0.85 * ONE < reach <= 1.001 * ONE, name


def test_the_object_lies_in_the_central_square_and_spans_enough_of_it() -> None:
    for index in range(300):
        ring = draw_scene(RandomStream(0, index)).rings[0]
        xs, ys = [x for x, _ in ring], [y for _, y in ring]
        assert max(map(abs, xs + ys)) < UNIT // 2
        farthest = max(
            (x - u) ** 2 + (y - v) ** 2 for x, y in ring for u, v in ring[:: max(1, len(ring) // 5)]
        )
        assert farthest**0.5 > 0.17 * UNIT


def test_most_images_are_easy_and_a_tail_is_hard_in_three_factors_at_most() -> None:
    scenes = [draw_scene(RandomStream(1, index)) for index in range(1000)]
    hard = [sum(getattr(scene.factors, name) > 0.6 for name in FACTOR_NAMES) for scene in scenes]
    easy = [max(getattr(scene.factors, name) for name in FACTOR_NAMES) < 0.3 for scene in scenes]
    assert 0.50 < np.mean(easy) < 0.66
    assert 0.08 < np.mean(np.array(hard) >= 2) < 0.25
    assert max(hard) <= 3


def test_classes_are_drawn_evenly() -> None:
    counts = np.bincount([draw_scene(RandomStream(2, index)).label_id for index in range(1600)])
    assert len(counts) == len(CLASSES)
    assert counts.min() > 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0, 64, 64), "seed, index: must be at least 0"),
        ((0, 0, 15, 64), "at least 16"),
        ((0, 0, 201, 100), "at most twice"),
    ],
)
def test_render_refuses_what_it_cannot_paint(
    arguments: tuple[int, int, int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        render(*arguments)
