"""A training that can be stopped after any step and goes on as if it had not been.

Nothing random has a memory: the order of the pictures comes from seed and epoch, every choice of a
step from seed and step. So weights, moments and the number of steps are the whole state, and the
same data, recipe, threads and versions give the same bits, however often it was interrupted.

One device, data in memory as uint8 pixels. Several processes may share the batches of a training;
each is a trainer of its own, of the same model, data and recipe, and takes the same steps. Knows
nothing of files, and not who started the processes.
Shapes: N pictures, B of a batch, S pixels a side.
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
from dvt.training.batch_norm import add_batch_norm, folded
from dvt.training.draws import Draws
from dvt.training.drop_path import add_drop_path
from dvt.training.ema import WeightAverage
from dvt.training.loss import cascade_loss
from dvt.training.mixing import mix
from dvt.training.optimizers import Optimizers
from dvt.training.parallel import DataParallel
from dvt.training.recipe import TrainingRecipe
from dvt.training.schedule import learning_rate_factor

__all__ = ["EpochResult", "Trainer"]


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What one epoch came to.

    Attributes:
        epoch: from 1.
        loss: mean over the steps.
        learning_rate: at its end.
        seconds: it took, without the time that the training was not running.
        accuracy_per_exit: on validation pictures; empty where there are none.
    """

    epoch: int
    loss: float
    learning_rate: float
    seconds: float
    accuracy_per_exit: tuple[float, ...] = ()


class Trainer:
    """The state of a training.

    Args:
        model: initialised, on the device to train on; it is trained in place, and is no longer
            the plain model where the recipe adds batch normalisation. `trained` gives that.
        pixels_NSS3: training pictures, S the model's image size.
        labels_N: class ids.
        recipe: hyperparameters; its batches are those of all processes together.
        parallel: this process among several; None if it is alone.

    Raises:
        ValueError: there are more processes than pictures in a batch.

    Attributes:
        results: of the epochs that are finished.
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
        own = None if parallel is None else parallel.share(num_images)
        self._draws = Draws(self._generator, num_images, own)
        if recipe.batch_norm:
            add_batch_norm(model, is_shared=parallel is not None)
        if recipe.drop_path:
            add_drop_path(model, recipe.drop_path, self._draws)
        # Convolutions run faster on weights that lie as their pictures do.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._forward = model if parallel is None else parallel.wrapped(model)
        self._optimizers = Optimizers(model, recipe)
        self._autocast = autocast_dtype(self._device)
        # Gradients of float16 would vanish; elsewhere it does nothing.
        self._scaler = torch.amp.GradScaler(
            self._device.type, enabled=self._autocast == torch.float16
        )
        self._average = WeightAverage(model, recipe.ema_decay) if recipe.ema_decay else None
        self.steps_per_epoch = max(1, len(labels_N) // recipe.batch_size)
        self.num_steps = recipe.epochs * self.steps_per_epoch
        self.step = 0
        self.results: list[EpochResult] = []
        self._epoch_loss = torch.zeros((), device=self._device)
        self._epoch_seconds = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.results) == self._recipe.epochs

    def run(
        self,
        judge: Callable[[Cascade], tuple[float, ...]] | None = None,
        on_epoch: Callable[[EpochResult], None] = lambda result: None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """Trains to the end, from wherever it stands.

        Args:
            judge: gives the accuracy of every exit after an epoch.
            on_epoch: called after every epoch.
            on_step: called after every step: the place to keep `state_dict`, or to stop.
        """
        while not self.is_finished:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            if epoch == len(self.results):
                order_N = self._order(epoch)
                for number in range(done, self.steps_per_epoch):
                    self._one_step(order_N[number * self._recipe.batch_size :])
                    if number + 1 < self.steps_per_epoch:
                        on_step()
            on_epoch(self._finish_epoch(judge))
            on_step()

    def trained(self) -> Cascade:
        """A plain model of the weights so far, averaged if the recipe says so."""
        source = self._average.weights() if self._average else self._model.state_dict()
        model = Cascade(self._model.config, self._model.labels).to(self._device)
        model.load_state_dict(folded(source))
        return model.eval()

    def state_dict(self) -> dict[str, Any]:
        """All that a new `Trainer` of the same model, data and recipe needs to go on."""
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
        """Takes over what `state_dict` gave."""
        self._model.load_state_dict(state["model"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self._optimizers.load_state_dict(state["optimizers"])
        if self._scaler.is_enabled() and state.get("scaler"):  # other devices keep none
            self._scaler.load_state_dict(state["scaler"])
        self._epoch_loss.copy_(state["epoch_loss"])
        self._epoch_seconds = state["epoch_seconds"]
        self.results = [
            EpochResult(**fields | {"accuracy_per_exit": tuple(fields["accuracy_per_exit"])})
            for fields in state["results"]
        ]
        self.step = state["step"]

    def _seed(self, *numbers: int) -> None:
        """The generator at the place that belongs to these numbers, whatever it gave before."""
        entropy = np.random.SeedSequence((self._recipe.seed, *numbers))
        self._generator.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))

    def _order(self, epoch: int) -> Tensor:
        self._seed(0, epoch)
        return torch.randperm(len(self._labels), generator=self._generator)

    def _one_step(self, order: Tensor) -> None:
        started = time.perf_counter()
        recipe, config = self._recipe, self._model.config
        self._model.train()
        self._seed(1, self.step)
        rows_B = self._draws.of_batch(order[: recipe.batch_size])
        images = pixels_to_unit(self._pixels[rows_B].to(self._device))
        images = normalise(augment(images, recipe, self._draws), config.preprocess)
        targets = self._labels[rows_B].to(self._device)
        if self.step < recipe.mix_until * self.num_steps:
            images, targets = mix(images, targets, config.num_classes, recipe, self._draws)
        dtype = self._autocast
        with torch.autocast(self._device.type, dtype=dtype, enabled=dtype is not None):
            logits = self._forward(images)
        loss = cascade_loss(logits, targets, recipe.distillation_weight, recipe.label_smoothing)
        if self._parallel:
            # Averaged over processes whose shares differ, it has to be the mean over the images.
            loss = loss * (len(rows_B) * self._parallel.num_workers / self._draws.num_images)
        self._scaler.scale(loss).backward()
        self._optimizers.unscale(self._scaler)
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), recipe.gradient_clip)
        is_sound = not self._scaler.is_enabled() or bool(norm.isfinite())
        self._optimizers.step(self._learning_rate(self.step), is_sound)
        self._scaler.update()
        if self._average:
            self._average.update()
        loss = loss.detach()
        if self._parallel:
            loss = self._parallel.total(loss) / self._parallel.num_workers
        self._epoch_loss += loss
        self.step += 1
        self._epoch_seconds += time.perf_counter() - started

    def _learning_rate(self, step: int) -> float:
        factor = learning_rate_factor(step, self.steps_per_epoch, self._recipe)
        return self._recipe.learning_rate * factor

    def _finish_epoch(self, judge: Callable[[Cascade], tuple[float, ...]] | None) -> EpochResult:
        result = EpochResult(
            epoch=len(self.results) + 1,
            loss=float(self._epoch_loss) / self.steps_per_epoch,
            learning_rate=self._learning_rate(self.step),
            seconds=self._epoch_seconds,
            accuracy_per_exit=judge(self.trained()) if judge else (),
        )
        self._epoch_loss.zero_()
        self._epoch_seconds = 0.0
        self.results.append(result)
        return result
