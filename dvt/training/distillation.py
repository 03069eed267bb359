"""Trains adapters for small image sizes on unlabelled pictures, by distillation.

Each step draws a view of each picture: a crop, sometimes mirrored, of the teachers' size. The
target is the mean of the teachers' probabilities for exactly this view; each student sees the view
downsized, as a cascade downsizes a picture for an early stage (Beyer et al., arXiv 2106.05237).

As in `dvt.training.trainer`, random choices depend on seed, epoch and step alone, so the
parameters, the optimizer's moments and the step are the complete state. Reads and writes no files.

Shapes: N pictures, b of them in a batch, R pixels per side of a picture, T of the teachers' input,
S of a student's, K classes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from dvt.members.adapter import Adapter
from dvt.members.efficientnet_lite import load_efficientnet_lite, normalise_pixels
from dvt.members.onnx_graph import onnx_graph
from dvt.members.onnx_session import open_session
from dvt.training.adapter_layers import AdaptedNetwork
from dvt.training.trainer import EpochResult
from dvt.validation import FrozenModel

__all__ = ["AdapterTrainer", "DistillationRecipe", "NetworkAtSize", "downsized"]


class NetworkAtSize(FrozenModel):
    """A network and the side of its input in pixels."""

    network: Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    image_size: Annotated[int, Field(ge=32, le=512)]


class DistillationRecipe(FrozenModel):
    """What is trained, by whom, and how.

    Attributes:
        students: get an adapter each.
        teachers: all of one image size, at least that of the students.
    """

    students: Annotated[tuple[NetworkAtSize, ...], Field(min_length=1)]
    teachers: Annotated[tuple[NetworkAtSize, ...], Field(min_length=1)]
    picture_size: Annotated[int, Field(ge=32, description="side of the pictures in memory")] = 256
    epochs: Annotated[int, Field(ge=1)] = 6
    batch_size: Annotated[int, Field(ge=1)] = 32
    seed: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    smallest_view: Annotated[
        float, Field(gt=0, le=1, description="side of a view, as a share of the picture")
    ] = 0.65

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        """Students see what the teachers see, and no more of it."""
        size = self.teachers[0].image_size
        if any(teacher.image_size != size for teacher in self.teachers):
            raise ValueError("teachers: must all have the same image_size")
        largest = max(student.image_size for student in self.students)
        if not largest <= size <= self.picture_size:
            raise ValueError(
                f"teachers.image_size: must be at least {largest}, as the students', and at most "
                f"{self.picture_size}, picture_size (got {size})"
            )
        return self


class AdapterTrainer:
    """A training of adapters and its state.

    Args:
        recipe: students, teachers and hyperparameters.
        pixels_NRR3: square pictures of `recipe.picture_size`.
        num_threads: of the teachers.

    Attributes:
        step: number of finished steps.
        steps_per_epoch: optimizer steps per epoch.
        num_steps: optimizer steps of the whole training.
        results: of the finished epochs.
    """

    def __init__(
        self, recipe: DistillationRecipe, pixels_NRR3: NDArray[np.uint8], num_threads: int
    ) -> None:
        self._recipe = recipe
        self._pixels = torch.from_numpy(pixels_NRR3)
        self._teacher_size = recipe.teachers[0].image_size
        self._students = [
            AdaptedNetwork(load_efficientnet_lite(s.network), s.image_size) for s in recipe.students
        ]
        self._teachers = [
            open_session(onnx_graph(load_efficientnet_lite(t.network), t.image_size), num_threads)
            for t in recipe.teachers
        ]
        parameters = [p for s in self._students for p in s.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(parameters, lr=recipe.learning_rate)
        self._generator = torch.Generator()
        self.steps_per_epoch = max(1, len(pixels_NRR3) // recipe.batch_size)
        self.num_steps = recipe.epochs * self.steps_per_epoch
        self.step = 0
        self.results: list[EpochResult] = []
        self._epoch_loss = torch.zeros(len(self._students))
        self._epoch_seconds = 0.0
        self._held_out: list[Tensor] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are finished."""
        return len(self.results) == self._recipe.epochs

    def run(
        self,
        evaluate: Callable[[], tuple[float, ...]],
        on_epoch: Callable[[EpochResult], None] = lambda result: None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """Trains from the current step to the end.

        Args:
            evaluate: returns a figure of each student; called after every epoch.
            on_epoch: called after every epoch.
            on_step: called after every step; may save `state_dict`, or raise to stop.
        """
        while not self.is_finished:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            if epoch == len(self.results):
                order_N = self._order(epoch)
                for number in range(done, self.steps_per_epoch):
                    first = number * self._recipe.batch_size
                    self._one_step(order_N[first : first + self._recipe.batch_size])
                    if number + 1 < self.steps_per_epoch:
                        on_step()
            on_epoch(self._finish_epoch(evaluate()))
            on_step()

    def adapters(self) -> list[Adapter]:
        """The adapters, one a student."""
        return [student.adapter() for student in self._students]

    def agreement(self, pixels_NRR3: NDArray[np.uint8]) -> tuple[float, ...]:
        """Share of pictures to which each student gives the teachers' label; central views.

        Args:
            pixels_NRR3: held out, the same in every call.
        """
        margin = (pixels_NRR3.shape[1] - self._teacher_size) // 2
        inner = slice(margin, margin + self._teacher_size)
        batches = torch.from_numpy(pixels_NRR3)[:, inner, inner].split(self._recipe.batch_size)
        if self._held_out is None:
            self._held_out = [self._targets(views).argmax(1) for views in batches]
        agreed = torch.zeros(len(self._students), dtype=torch.int64)
        for views, target in zip(batches, self._held_out, strict=True):
            for number, student in enumerate(self._students):
                with torch.inference_mode():
                    logits = student(normalise_pixels(downsized(views, student.image_size)))
                agreed[number] += (logits.argmax(1) == target).sum()
        return tuple((agreed / len(pixels_NRR3)).tolist())

    def state_dict(self) -> dict[str, Any]:
        """The state from which a trainer of the same recipe and pictures continues."""
        return {
            "step": self.step,
            "parameters": [p.detach() for p in self._optimizer.param_groups[0]["params"]],
            "optimizer": self._optimizer.state_dict(),
            "epoch_loss": self._epoch_loss,
            "epoch_seconds": self._epoch_seconds,
            "results": [asdict(result) for result in self.results],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state from `state_dict`."""
        parameters = self._optimizer.param_groups[0]["params"]
        for parameter, value in zip(parameters, state["parameters"], strict=True):
            parameter.data.copy_(value)
        self._optimizer.load_state_dict(state["optimizer"])
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
        return torch.randperm(len(self._pixels), generator=self._generator)

    def _views(self, rows_b: Tensor) -> Tensor:
        """Random views [b, T, T, 3] of pictures."""
        side = self._pixels.shape[1]
        numbers_b5 = torch.rand(len(rows_b), 5, generator=self._generator).tolist()
        views = []
        for row, (area, aspect, left, top, mirrored) in zip(
            rows_b.tolist(), numbers_b5, strict=True
        ):
            share = self._recipe.smallest_view
            length = side * (share + (1 - share) * area)
            stretch = math.exp((aspect - 0.5) * 0.4)  # width to height within 0.82 and 1.22
            width, height = (
                min(side, round(length * factor))
                for factor in (math.sqrt(stretch), 1 / math.sqrt(stretch))
            )
            x, y = int(left * (side - width + 1)), int(top * (side - height + 1))
            view = downsized(
                self._pixels[row : row + 1, y : y + height, x : x + width], self._teacher_size
            )
            views.append(view.flip(2) if mirrored < 0.5 else view)
        return torch.cat(views)

    def _targets(self, views_bTT3: Tensor) -> Tensor:
        """Mean probabilities of the teachers, [b, K]."""
        pixels = views_bTT3.contiguous().numpy()
        logits = [t.run(["logits"], {"pixels": pixels})[0] for t in self._teachers]
        return torch.stack([torch.from_numpy(row).softmax(1) for row in logits]).mean(0)

    def _one_step(self, rows_b: Tensor) -> None:
        started = time.perf_counter()
        self._seed(1, self.step)
        views = self._views(rows_b)
        target = self._targets(views)
        rate = self._learning_rate(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        for number, student in enumerate(self._students):
            logits = student(normalise_pixels(downsized(views, student.image_size)))
            loss = F.cross_entropy(logits, target)
            loss.backward()
            self._epoch_loss[number] += loss.detach()
        self._optimizer.step()
        self.step += 1
        self._epoch_seconds += time.perf_counter() - started

    def _learning_rate(self, step: int) -> float:
        warmup = self._recipe.warmup_steps
        if step < warmup:
            return self._recipe.learning_rate * (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(1, self.num_steps - warmup)
        return self._recipe.learning_rate * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def _finish_epoch(self, accuracies: tuple[float, ...]) -> EpochResult:
        result = EpochResult(
            epoch=len(self.results) + 1,
            loss=float(self._epoch_loss.sum()) / self.steps_per_epoch,
            learning_rate=self._learning_rate(self.step),
            seconds=self._epoch_seconds,
            accuracy_per_exit=accuracies,
        )
        self._epoch_loss.zero_()
        self._epoch_seconds = 0.0
        self.results.append(result)
        return result


def downsized(pixels_BHW3: Tensor, side: int) -> Tensor:
    """Pixels [B, side, side, 3], resized bicubically with antialiasing."""
    if pixels_BHW3.shape[1:3] == (side, side):
        return pixels_BHW3
    resized = F.interpolate(
        pixels_BHW3.permute(0, 3, 1, 2), size=(side, side), mode="bicubic", antialias=True
    )
    return resized.permute(0, 2, 3, 1)
