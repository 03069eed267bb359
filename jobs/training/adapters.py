"""Trains adapters on pictures without labels, and writes the networks as members of a cascade.

OUT/members/lite0-160/   a student with its adapter
OUT/members/lite2-224/   the first teacher, as its package has it
OUT/training/            as for every training; `validation.parquet` has the held-out pictures
"""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dvt.atomic_io import atomic_write
from dvt.members.adapter import Adapter, write_adapter
from dvt.members.lite_model import LiteConfig
from dvt.training.distillation import AdapterTrainer, DistillationRecipe, NetworkAtSize
from jobs.datasets import load_pictures
from jobs.training.folder import TrainingFolder, training_digest
from jobs.training.loop import run_to_end
from pipeline.decoding import DecodeSettings

__all__ = ["TrainedAdapters", "train_adapters"]

logger = logging.getLogger(__name__)

_ADAPTER = "adapter.safetensors"


@dataclass(frozen=True, slots=True)
class TrainedAdapters:
    """The result of a training.

    Attributes:
        members: folders of the students and the first teacher, in this order.
        agreement: share of the held-out pictures that got the teachers' label, per student.
        seconds: of the training.
    """

    members: tuple[Path, ...]
    agreement: tuple[float, ...]
    seconds: float


def train_adapters(
    recipe: DistillationRecipe,
    data: str,
    num_held_out: int | None,
    out: Path,
    save_every_s: float,
    overwrite: bool,
) -> TrainedAdapters:
    """Trains, or continues a training, and writes the members.

    Args:
        recipe: of the training.
        data: archive of pictures.
        num_held_out: pictures that are not trained on; None for every tenth.
        out: folder of the results.
        save_every_s: seconds between saved states.
        overwrite: discards a training in `out`.

    Raises:
        UsageError: the data cannot be used, or `out` has another training.
        CheckpointError: a network's weights are missing.
        KeyboardInterrupt: interrupted; the state is saved.
    """
    size = recipe.picture_size
    loaded = load_pictures(data, DecodeSettings(resize=size, crop=size))
    if loaded.num_unreadable:
        logger.warning("%d pictures cannot be read and are skipped", loaded.num_unreadable)
    images, held_out = loaded.split(num_held_out or max(1, len(loaded.keys) // 10))
    del loaded
    logger.info("%d pictures, %d held out", len(images.keys), len(held_out.keys))
    digest = training_digest((recipe,), (), images)
    folder = TrainingFolder(out / "training", digest, save_every_s)
    with contextlib.closing(folder.curve):
        trainer = AdapterTrainer(recipe, images.pixels, torch.get_num_threads())
        if overwrite:
            folder.discard_state()
        elif folder.resume(trainer):
            logger.info("resuming after step %d of %d", trainer.step, trainer.num_steps)
        folder.write_validation(held_out)
        _run(trainer, folder, held_out.pixels)
        folder.curve.write(trainer.results)
    members = [_write_member(out, adapter) for adapter in trainer.adapters()]
    members.append(_write_member(out, recipe.teachers[0]))
    seconds = sum(result.seconds for result in trainer.results)
    return TrainedAdapters(tuple(members), trainer.results[-1].accuracy_per_exit, seconds)


def _run(trainer: AdapterTrainer, folder: TrainingFolder, held_out_NRR3: NDArray[np.uint8]) -> None:
    run_to_end(
        trainer,
        lambda on_epoch, on_step: trainer.run(
            lambda: trainer.agreement(held_out_NRR3), on_epoch, on_step
        ),
        folder,
    )


def _write_member(out: Path, member: Adapter | NetworkAtSize) -> Path:
    """Writes the folder of a network; `config.json` comes last."""
    name = f"{member.network.removeprefix('efficientnet_')}-{member.image_size}"
    folder = out / "members" / name
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(member, Adapter):
        write_adapter(member, folder / _ADAPTER)
    config = LiteConfig.model_validate(
        {
            "name": name,
            "network": member.network,
            "image_size": member.image_size,
            "adapter": _ADAPTER if isinstance(member, Adapter) else None,
        }
    )
    with atomic_write(folder / "config.json") as partial:
        partial.write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return folder
