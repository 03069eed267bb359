"""What all contenders run: an array of pixels on disk, a cascade, and a static model.

Shapes: n images, S pixels per side.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import dvt
from dvt import Calibration, Cascade
from dvt.exits import ALWAYS_EXIT, FULL_DEPTH
from dvt.inference import StageExecutor
from dvt.loading import shipped_models
from jobs.datasets import load_labelled
from pipeline.cascade.runner import CascadeRunner
from pipeline.decoding import DecodeSettings

__all__ = ["Measured", "Workload", "make_workload", "open_executor"]

_SEED = 31


@dataclass(frozen=True, slots=True)
class Workload:
    """An archive and how to run it; small enough to send to every actor.

    Attributes:
        pixels: file with [n, S, S, 3] uint8.
        num_images: how many of them to use, n.
        cascade: checkpoint folder, with thresholds.
        static: checkpoint folder of one stage with the cascade's last grid.
        thresholds: one for each exit; the last takes everything.
        batch_size: images per forward pass.
        num_threads: of an actor that computes alone.
        dtype: "float32" or "bfloat16".
    """

    pixels: Path
    num_images: int
    cascade: Path
    static: Path
    thresholds: tuple[float, ...]
    batch_size: int
    num_threads: int
    dtype: str

    def rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Pixels of the images start..stop-1, from the page cache."""
        pixels: NDArray[np.uint8] = np.load(self.pixels, mmap_mode="r")
        return pixels[start : min(stop, self.num_images)].copy()

    @property
    def full_depth(self) -> tuple[float, ...]:
        """Thresholds at which no image exits early."""
        return (*[FULL_DEPTH] * (len(self.thresholds) - 1), ALWAYS_EXIT)


@dataclass(frozen=True, slots=True)
class Measured:
    """Result of a contender.

    Attributes:
        seconds: from the first image to the last prediction.
        label_ids: of the images in their order, [n].
        exit_stages: from 1, [n].
    """

    seconds: float
    label_ids: NDArray[np.int64]
    exit_stages: NDArray[np.int64]


def make_workload(
    model: str,
    exit_mix: tuple[float, ...] | None,
    num_images: int,
    batch_size: int,
    num_threads: int,
    dtype: str,
) -> Workload:
    """Draws the images and prepares both models in `build/`; reuses images that are there.

    Args:
        model: shipped name, or a preset, which gets random weights.
        exit_mix: share of the images at each exit, from which thresholds are computed. None for
            the model's own thresholds.
        num_images: a multiple of `batch_size`.
        batch_size: images per forward pass.
        num_threads: of an actor that computes alone.
        dtype: of the computation.
    """
    if num_images % batch_size:
        raise ValueError(
            f"images: must be a multiple of batch_size={batch_size} (got {num_images})"
        )
    cascade, static = _models(model)
    config = cascade.config
    folder = Path("build/engine-benchmark") / model
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"pixels-{num_images}.npy"
    if not path.exists():
        size = config.image_size
        name = f"shapes:{num_images}:{_SEED}"
        np.save(path, load_labelled(name, DecodeSettings(resize=size, crop=size)).pixels)
    if exit_mix is not None:
        executor = cascade.make_executor(torch.device("cpu"), getattr(torch, dtype))
        thresholds = _thresholds_for(executor, np.load(path), exit_mix, batch_size)
        cascade.calibration = Calibration(thresholds=thresholds)
    for name, made in (("cascade", cascade), ("static", static)):
        dvt.save_model(made, folder / name)
    return Workload(
        pixels=path.resolve(),
        num_images=num_images,
        cascade=(folder / "cascade").resolve(),
        static=(folder / "static").resolve(),
        thresholds=cascade.thresholds(),
        batch_size=batch_size,
        num_threads=num_threads,
        dtype=dtype,
    )


def _models(name: str) -> tuple[Cascade, Cascade]:
    """The cascade, and a static model with its last grid and as many classes."""
    torch.manual_seed(_SEED)
    cascade = dvt.load_cascade(name) if name in shipped_models() else dvt.create_model(name)
    config = cascade.config.with_changes(
        name=f"{name}, static",
        grids=cascade.config.model_dump()["grids"][-1:],
        feature_reuse=False,
        relation_reuse=False,
    )
    return cascade, Cascade(config, calibration=Calibration(thresholds=())).eval()


def _thresholds_for(
    executor: StageExecutor,
    pixels_nSS3: NDArray[np.uint8],
    exit_mix: tuple[float, ...],
    batch_size: int,
) -> tuple[float, ...]:
    """At each exit, a quantile of the confidences of the images that are left."""
    num_exits = executor.spec.num_stages
    # All images leave at the last exit but one, because the last exit has no threshold.
    runner = CascadeRunner(
        executor, (*[FULL_DEPTH] * (num_exits - 2), ALWAYS_EXIT, ALWAYS_EXIT), batch_size, top_k=1
    )
    runner.add(np.arange(len(pixels_nSS3)), pixels_nSS3)
    predictions, failures = runner.flush()
    assert not failures
    confidences_nE = np.concatenate([each.exit_confidences for each in predictions])
    thresholds: list[float] = []
    staying = np.ones(len(confidences_nE), dtype=bool)
    for exit_index in range(num_exits - 1):
        ranked = np.sort(confidences_nE[staying, exit_index])[::-1]
        leaving = round(exit_mix[exit_index] * len(confidences_nE))
        # Between two images, so that no exit depends on the last bit.
        thresholds.append(float(ranked[leaving - 1 : leaving + 1].mean()))
        staying &= confidences_nE[:, exit_index] < thresholds[-1]
    return tuple(thresholds)


def open_executor(model: Path, dtype: str, num_threads: int, batch_size: int) -> StageExecutor:
    """An executor that has run every stage once."""
    torch.set_num_threads(num_threads)
    executor = dvt.load_cascade(model).make_executor(torch.device("cpu"), getattr(torch, dtype))
    size = executor.spec.image_size
    blank = executor.upload(np.zeros((batch_size, size, size, 3), np.uint8))()
    state = None
    for stage in range(executor.spec.num_stages):
        state = executor.run(stage, blank, state, batch_size).state
    return executor
