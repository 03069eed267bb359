"""The training loop: one process, one device, data in memory as uint8 pixels.

Knows nothing of files: whoever calls it loads pixels and saves the model.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.cascade import Cascade
from dvt.device import autocast_dtype
from dvt.exits import scores
from dvt.fast import StageExecutor
from dvt.preprocess import normalise, pixels_to_unit
from dvt.reuse import StageState
from dvt.training.augment import augment
from dvt.training.loss import cascade_loss
from dvt.training.recipe import TrainingRecipe

__all__ = ["EpochResult", "evaluate_exits", "train"]


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What one epoch came to: mean training loss, learning rate at its end, seconds it took."""

    epoch: int
    loss: float
    learning_rate: float
    seconds: float


def train(
    model: Cascade,
    pixels_NSS3: NDArray[np.uint8],
    labels_N: NDArray[np.int64],
    recipe: TrainingRecipe,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
) -> None:
    """Trains the model in place.

    Args:
        model: on the device to train on.
        pixels_NSS3: training pictures [N, S, S, 3], S the model's image size.
        labels_N: class ids [N].
        recipe: hyperparameters.
        on_epoch: called after every epoch.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(recipe.seed)
    pixels, labels = torch.from_numpy(pixels_NSS3), torch.from_numpy(labels_N)
    steps_per_epoch = max(1, len(labels) // recipe.batch_size)
    optimizer = torch.optim.AdamW(
        _parameter_groups(model, recipe.weight_decay),
        lr=recipe.learning_rate,
        betas=(0.9, 0.99),
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _learning_rate_factor(step, steps_per_epoch, recipe)
    )
    dtype = autocast_dtype(device)
    model.train()
    for epoch in range(1, recipe.epochs + 1):
        started, total = time.perf_counter(), 0.0
        order = torch.randperm(len(labels), generator=generator)
        for step in range(steps_per_epoch):
            rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            images = pixels_to_unit(pixels[rows].to(device))
            images = normalise(augment(images, recipe, generator), model.config.preprocess)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                logits = model(images)
            loss = cascade_loss(
                logits,
                labels[rows].to(device),
                recipe.distillation_weight,
                recipe.label_smoothing,
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
            optimizer.step()
            schedule.step()
            total += loss.item()
        on_epoch(
            EpochResult(
                epoch=epoch,
                loss=total / steps_per_epoch,
                learning_rate=float(schedule.get_last_lr()[0]),
                seconds=time.perf_counter() - started,
            )
        )
    model.eval()


def _parameter_groups(model: Cascade, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; biases, LayerNorms, class tokens and positions do not (DeiT)."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    small = ("class_token", "positions")
    decayed = [p for name, p in trained if p.ndim > 1 and not name.endswith(small)]
    kept = [p for name, p in trained if p.ndim <= 1 or name.endswith(small)]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]


def _learning_rate_factor(step: int, steps_per_epoch: int, recipe: TrainingRecipe) -> float:
    """Linear warmup, then a cosine down to the final rate; relative to the peak."""
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, recipe.epochs * steps_per_epoch - warmup)
    floor = recipe.final_learning_rate / recipe.learning_rate
    return floor + (1 - floor) * (1 + math.cos(math.pi * min(1, progress))) / 2


def evaluate_exits(
    executor: StageExecutor, pixels_NSS3: NDArray[np.uint8], batch_size: int = 128
) -> NDArray[np.float32]:
    """Softmax scores of every exit for every picture, [E, N, num_classes].

    Args:
        executor: the model on its device, in its precision.
        pixels_NSS3: pictures [N, S, S, 3], S the model's image size.
        batch_size: pictures per forward pass.
    """
    batches: list[Tensor] = []
    for start in range(0, len(pixels_NSS3), batch_size):
        pixels = executor.upload(pixels_NSS3[start : start + batch_size])()
        state: StageState | None = None
        exits: list[Tensor] = []
        for stage in range(executor.config.num_stages):
            output = executor.run(stage, pixels, state, batch_size)
            exits.append(scores(output.logits))  # a copy: the next run may write over it
            state = output.state
        batches.append(torch.stack(exits).cpu())
    return torch.cat(batches, dim=1).numpy()
