"""The training loop, resumable after any step with identical results.

There is no hidden random state: image order depends on seed and epoch, all other random choices on
seed and step. Weights, optimizer moments and the step are therefore the complete state, and the
same data, recipe, threads and versions give the same bits however often a training is interrupted.

Each process trains on one device, with the data in memory as uint8 pixels. Several processes may
share every batch (`dvt.training.parallel`): each runs a `Trainer` with the same model, data and
recipe. Reads and writes no files.

Shapes: N images, B images of a batch, n of them in this process, S pixels per side.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.cascade import Cascade
from dvt.device import autocast_dtype
from dvt.preprocess import normalise, pixels_to_unit
from dvt.training.augment import augment
from dvt.training.batch_norm import add_batch_norm, fold_batch_norm
from dvt.training.batch_rng import BatchRng
from dvt.training.drop_path import add_drop_path
from dvt.training.ema import ExponentialMovingAverage
from dvt.training.loss import cascade_loss
from dvt.training.mixing import mix
from dvt.training.optimizers import Optimizers
from dvt.training.parallel import DataParallel
from dvt.training.recipe import TrainingRecipe
from dvt.training.schedule import learning_rate_factor

__all__ = ["EpochResult", "Trainer"]


@dataclass(frozen=True, slots=True)
class EpochResult:
    """Figures of one epoch.

    Attributes:
        epoch: from 1.
        loss: mean over the steps.
        learning_rate: at the end of the epoch.
        seconds: training time, without interruptions and validation.
        accuracy_per_exit: top-1 on validation images, as fractions; empty without validation.
    """

    epoch: int
    loss: float
    learning_rate: float
    seconds: float
    accuracy_per_exit: tuple[float, ...] = ()


class Trainer:
    """A training and its state.

    Args:
        model: initialised, on the training device. It is trained in place, with batch
            normalisation if the recipe adds it; `trained` returns the plain model.
        pixels_NSS3: training images, S the model's image size.
        labels_N: class ids.
        recipe: hyperparameters; `batch_size` counts the images of all processes.
        parallel: this process among several; None for a single process.

    Raises:
        ValueError: more processes than images in a batch.

    Attributes:
        step: number of finished steps.
        steps_per_epoch: optimizer steps per epoch.
        num_steps: optimizer steps of the whole training.
        results: of the finished epochs.
    """

    def __init__(
        self,
        model: Cascade,
        pixels_NSS3: NDArray[np.uint8],
        labels_N: NDArray[np.int64],
        recipe: TrainingRecipe,
        parallel: DataParallel | None = None,
    ) -> None:
        self._model, self._recipe, self._parallel = model, recipe, parallel
        self._pixels, self._labels = torch.from_numpy(pixels_NSS3), torch.from_numpy(labels_N)
        self._device = next(model.parameters()).device
        self._generator = torch.Generator()
        num_images = min(recipe.batch_size, len(labels_N))
        local = None if parallel is None else parallel.local_slice(num_images)
        self._rng = BatchRng(self._generator, num_images, local)
        if recipe.batch_norm:
            add_batch_norm(model, synchronise=parallel is not None)
        if recipe.drop_path:
            add_drop_path(model, recipe.drop_path, self._rng)
        # Convolutions are faster when weights have the memory layout of their input.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._forward = model if parallel is None else parallel.wrap(model)
        self._optimizers = Optimizers(model, recipe)
        self._autocast = autocast_dtype(self._device)
        # Without scaling, float16 gradients would underflow.
        self._scaler = torch.amp.GradScaler(
            self._device.type, enabled=self._autocast == torch.float16
        )
        self._average = (
            ExponentialMovingAverage(model, recipe.ema_decay) if recipe.ema_decay else None
        )
        self.steps_per_epoch = max(1, len(labels_N) // recipe.batch_size)
        self.num_steps = recipe.epochs * self.steps_per_epoch
        self.step = 0
        self.results: list[EpochResult] = []
        self._epoch_loss = torch.zeros((), device=self._device)
        self._epoch_seconds = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are finished."""
        return len(self.results) == self._recipe.epochs

    def run(
        self,
        evaluate: Callable[[Cascade], tuple[float, ...]] | None = None,
        on_epoch: Callable[[EpochResult], None] = lambda result: None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """Trains from the current step to the end.

        Args:
            evaluate: returns the accuracy of every exit; called after every epoch.
            on_epoch: called after every epoch.
            on_step: called after every step; may save `state_dict`, or raise to stop.
        """
        while not self.is_finished:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            if epoch == len(self.results):
                order_N = self._order(epoch)
                for number in range(done, self.steps_per_epoch):
                    self._one_step(order_N[number * self._recipe.batch_size :])
                    if number + 1 < self.steps_per_epoch:
                        on_step()
            on_epoch(self._finish_epoch(evaluate))
            on_step()

    def trained(self) -> Cascade:
        """A plain model of the current weights, averaged if the recipe enables averaging."""
        source = self._average.weights() if self._average else self._model.state_dict()
        model = Cascade(self._model.config, self._model.labels).to(self._device)
        model.load_state_dict(fold_batch_norm(source))
        return model.eval()

    def state_dict(self) -> dict[str, Any]:
        """The state from which a `Trainer` of the same model, data and recipe continues."""
        return {
            "step": self.step,
            "model": self._model.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "optimizers": self._optimizers.state_dict(),
            "scaler": self._scaler.state_dict(),
            "epoch_loss": self._epoch_loss,
            "epoch_seconds": self._epoch_seconds,
            "results": [asdict(result) for result in self.results],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state from `state_dict`."""
        self._model.load_state_dict(state["model"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self._optimizers.load_state_dict(state["optimizers"])
        if self._scaler.is_enabled() and state["scaler"]:  # empty if saved without float16
            self._scaler.load_state_dict(state["scaler"])
        self._epoch_loss.copy_(state["epoch_loss"])
        self._epoch_seconds = state["epoch_seconds"]
        self.results = [
            EpochResult(**fields | {"accuracy_per_exit": tuple(fields["accuracy_per_exit"])})
            for fields in state["results"]
        ]
        self.step = state["step"]

    def _seed(self, *numbers: int) -> None:
        """Sets the generator to a state that depends only on the recipe's seed and `numbers`."""
        entropy = np.random.SeedSequence((self._recipe.seed, *numbers))
        self._generator.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))

    def _order(self, epoch: int) -> Tensor:
        self._seed(0, epoch)
        return torch.randperm(len(self._labels), generator=self._generator)

    def _batch(self, rows_n: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented, normalised images and their targets: labels, or mixed probabilities."""
        recipe, config = self._recipe, self._model.config
        images = pixels_to_unit(self._pixels[rows_n].to(self._device))
        images = normalise(augment(images, recipe, self._rng), config.preprocess)
        targets = self._labels[rows_n].to(self._device)
        if self.step < recipe.mix_until * self.num_steps:
            images, targets = mix(images, targets, config.num_classes, recipe, self._rng)
        return images, targets

    def _one_step(self, order_N: Tensor) -> None:
        """Trains on the first batch of `order_N`."""
        started = time.perf_counter()
        recipe, dtype = self._recipe, self._autocast
        self._model.train()
        self._seed(1, self.step)
        rows_n = self._rng.local_part(order_N[: recipe.batch_size])
        images, targets = self._batch(rows_n)
        with torch.autocast(self._device.type, dtype=dtype, enabled=dtype is not None):
            logits = self._forward(images)
        loss = cascade_loss(logits, targets, recipe.distillation_weight, recipe.label_smoothing)
        if self._parallel:
            # DDP averages over processes with unequal shares; weigh to get the mean over images.
            loss = loss * (len(rows_n) * self._parallel.num_workers / self._rng.num_images)
        self._scaler.scale(loss).backward()
        self._optimizers.unscale(self._scaler)
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), recipe.gradient_clip)
        is_finite = not self._scaler.is_enabled() or bool(norm.isfinite())
        self._optimizers.step(self._learning_rate(self.step), is_finite)
        self._scaler.update()
        if self._average:
            self._average.update()
        loss = loss.detach()
        if self._parallel:
            loss = self._parallel.all_reduce(loss) / self._parallel.num_workers
        self._epoch_loss += loss
        self.step += 1
        self._epoch_seconds += time.perf_counter() - started

    def _learning_rate(self, step: int) -> float:
        factor = learning_rate_factor(step, self.steps_per_epoch, self._recipe)
        return self._recipe.learning_rate * factor

    def _finish_epoch(self, evaluate: Callable[[Cascade], tuple[float, ...]] | None) -> EpochResult:
        result = EpochResult(
            epoch=len(self.results) + 1,
            loss=float(self._epoch_loss) / self.steps_per_epoch,
            learning_rate=self._learning_rate(self.step),
            seconds=self._epoch_seconds,
            accuracy_per_exit=evaluate(self.trained()) if evaluate else (),
        )
        self._epoch_loss.zero_()
        self._epoch_seconds = 0.0
        self.results.append(result)
        return result
