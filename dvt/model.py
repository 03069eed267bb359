"""What a model is to everything that runs one: a sequence of stages, each with an exit.

Engine, calibration, audit, deadline, profiler and report see only this interface: the size and
preprocessing of the input, the classes, the cost of each stage in MACs, and a `StageExecutor` that
turns pixels and upstream state into logits, an embedding and its own state. A DVT (`cascade.py`) is
one kind of model; `dvt/members/` has the others.

Shapes: B images, S pixels per side, C classes.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from dvt.config import Preprocess
from dvt.device import inference_dtype
from dvt.embedding import Embedder, Projection
from dvt.errors import ModelError
from dvt.exits import ALWAYS_EXIT, confidence, exit_mask, exit_thresholds, scores
from dvt.inference.executor import StageExecutor
from dvt.labels import ClassGroups, SureOf, default_groups
from dvt.reuse import StageState, StateShape, pad_images
from dvt.stage import StageOutput
from dvt.validation import FrozenModel

__all__ = [
    "Calibration",
    "Model",
    "ModelSpec",
    "Prediction",
    "StageSpec",
    "ThresholdProvenance",
]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predictions of a batch: labels [B] int64, confidences [B] float32, exit_stages [B] from 1.

    A confidence is the probability of the label, also where the image exited on its group.
    """

    labels: Tensor
    confidences: Tensor
    exit_stages: Tensor


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage as its users see it.

    Attributes:
        name: for people, such as "7x7 tokens".
        image_size: side of the input that it computes on, pixels.
        macs: cost of one image, as its paper counts.
        useful_macs: of `macs`, those that this implementation executes.
        embedding_width: channels of its embedding; 0 if it has none.
        state: size of the state that it passes on.
    """

    name: str
    image_size: int
    macs: int
    useful_macs: int
    embedding_width: int
    state: StateShape = field(default_factory=StateShape)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as its users see it.

    Attributes:
        name: for people.
        num_classes: C.
        image_size: side of the decoded pixels, the largest that a stage needs.
        preprocess: from a picture to these pixels, and the normalisation of `Model.predict`.
        stages: cheapest first.
        last_member: of a cascade of models, name and GMACs of the last one alone, which is what the
            cascade has to beat; None for one model.
    """

    name: str
    num_classes: int
    image_size: int
    preprocess: Preprocess
    stages: tuple[StageSpec, ...]
    last_member: tuple[str, float] | None = None

    @property
    def num_stages(self) -> int:
        """Stages, and so exits."""
        return len(self.stages)

    @property
    def gmacs_per_exit(self) -> tuple[float, ...]:
        """Cumulative GMACs of one image that takes exit 1, 2, …"""
        return tuple(macs / 1e9 for macs in accumulate(stage.macs for stage in self.stages))


class ThresholdProvenance(FrozenModel):
    """The target that `dvt calibrate --adopt` chose a model's default thresholds for.

    Attributes:
        risk: what may be lost, "accuracy" or "agreement" with full depth.
        data: the data set that the thresholds were chosen on.
        dtype: precision of the predictions on it.
        gmacs: expected mean cost of an image.
        budget_gmacs: requested cost, or None.
        max_drop: requested bound of the loss, or None.
        exit_mix: requested shares of the exits, or None.
        delta: probability that the bound of `max_drop` fails.
        p_value: of the test against a larger loss.
        certified: whether the bound is proved for these thresholds.
    """

    risk: str
    data: str
    dtype: str
    gmacs: float
    budget_gmacs: float | None = None
    max_drop: float | None = None
    exit_mix: tuple[float, ...] | None = None
    delta: float | None = None
    p_value: float | None = None
    certified: bool = False


class Calibration(FrozenModel):
    """Default thresholds of a trained model, and the figures behind them.

    Attributes:
        thresholds: one for each exit but the last; the default of `predict`.
        accuracy_per_exit: top-1 of each exit at full depth, as fractions.
        curve: (GMACs, accuracy) of each point of the threshold sweep.
        threshold_sweep: the thresholds at each of those points.
        data: what the figures were measured on.
        provenance: target of the thresholds; None where training chose them.
    """

    thresholds: tuple[float, ...] | None = None
    accuracy_per_exit: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    curve: tuple[tuple[float, float], ...] = ()
    threshold_sweep: tuple[tuple[float, ...], ...] = ()
    data: str = ""
    provenance: ThresholdProvenance | None = None


class Model(ABC):
    """A network with one exit a stage.

    Attributes:
        labels: class names in order of their ids, or None.
        calibration: thresholds and measured figures; empty for an untrained model.
        projection: of stored embeddings; None for the default one.
        own_groups: groups of the classes; None for the default ones.
    """

    labels: tuple[str, ...] | None
    calibration: Calibration
    projection: Projection | None = None
    own_groups: ClassGroups | None = None

    @property
    @abstractmethod
    def spec(self) -> ModelSpec:
        """What engine, calibration and report need to know before anything runs."""

    @abstractmethod
    def __call__(self, images_B3SS: Tensor) -> list[Tensor]:
        """Logits [B, num_classes] of every exit at full depth, of images as for `predict`."""

    @abstractmethod
    def digest(self) -> str:
        """Identifies the configuration and the exact weights, 16 hex digits."""

    @abstractmethod
    def make_executor(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StageExecutor:
        """The fastest executor for this model.

        Args:
            device: None for the model's device. Weights may be moved in place.
            dtype: None for the model's precision. Weights may be cast in place.
        """

    @abstractmethod
    def _inputs(self, images_B3SS: Tensor) -> Tensor:
        """What `_run_stage` takes, one row per normalised image."""

    @abstractmethod
    def _run_stage(self, index: int, inputs: Tensor, upstream: StageState | None) -> StageOutput:
        """Runs stage `index` (from 0) on rows of `_inputs`."""

    def inference_dtype(self, device: torch.device) -> torch.dtype:
        """The precision that this model runs fastest in on a device."""
        return inference_dtype(device)

    def embedding_digest(self) -> str:
        """Identifies the space of stored embeddings, model and projection, 16 hex digits."""
        if self.projection is None:
            return self.digest()
        digest = hashlib.sha256(self.digest().encode())
        for part in (self.projection.mean, self.projection.matrix):
            digest.update(part.numpy().tobytes())
        return digest.hexdigest()[:16]

    def make_embedder(self, device: torch.device) -> Embedder:
        """Makes the embeddings to store of the first stage's.

        Raises:
            ModelError: the first stage has no embedding.
        """
        width = self.spec.stages[0].embedding_width
        if not width:
            raise ModelError(f"embeddings: the first stage of {self.spec.name} offers none")
        return Embedder(self.projection or Projection.default(width), device)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names in order of their ids; the ids themselves where there are no names."""
        return self.labels or tuple(str(number) for number in range(self.spec.num_classes))

    @property
    def groups(self) -> ClassGroups:
        """Groups of the classes: the model's own, else ImageNet's for ImageNet's classes."""
        if self.own_groups is not None:
            return self.own_groups
        return default_groups(self.spec.num_classes, self.labels)

    def thresholds(
        self, thresholds: Sequence[float] | None = None, sure_of: SureOf = "label"
    ) -> tuple[float, ...]:
        """Thresholds of all exits: those given or the model's defaults, and that of the last exit.

        The defaults apply to labels only.

        Raises:
            ModelError: none are given and the model has none, the number is wrong, or there are no
                groups to be sure of.
        """
        self.groups.parts(sure_of)
        num_stages = self.spec.num_stages
        defaults = self.calibration.thresholds if sure_of == "label" else None
        chosen = defaults if thresholds is None else thresholds
        if chosen is None and num_stages == 1:
            chosen = ()
        if chosen is None:
            for_groups = " for groups" * (sure_of == "group")
            raise ModelError(
                f"thresholds: {self.spec.name} has no default thresholds{for_groups}; "
                f"give {num_stages - 1} values"
            )
        return (*exit_thresholds(chosen, num_stages), ALWAYS_EXIT)

    @torch.inference_mode()
    def predict(
        self,
        images_B3SS: Tensor,
        thresholds: Sequence[float] | None = None,
        batch_size: int = 64,
        sure_of: SureOf = "label",
    ) -> Prediction:
        """Predicts with early exits; later stages run only on images that have not exited.

        Args:
            images_B3SS: any number of images, normalised as `spec.preprocess` says.
            thresholds: one for each exit but the last; None for the model's defaults.
            batch_size: images per forward pass. Shorter batches are padded to it, so predictions
                equal those of the engine at the same batch size.
            sure_of: what the thresholds apply to.

        Raises:
            ModelError: thresholds missing or of the wrong length, images of the wrong shape, or no
                groups to be sure of.
        """
        size = self.spec.image_size
        if images_B3SS.ndim != 4 or tuple(images_B3SS.shape[1:]) != (3, size, size):
            raise ModelError(
                f"images: must be [B, 3, {size}, {size}] (got {list(images_B3SS.shape)})"
            )
        if batch_size < 1:
            raise ModelError(f"batch_size: must be at least 1 (got {batch_size})")
        parts = self.groups.parts(sure_of, images_B3SS.device)
        num_images = len(images_B3SS)
        inputs = self._inputs(images_B3SS)
        labels = torch.empty(num_images, dtype=torch.int64)
        confidences = torch.empty(num_images, dtype=torch.float32)
        exit_stages = torch.empty(num_images, dtype=torch.int64)
        rows = torch.arange(num_images)
        state: StageState | None = None
        for index, threshold in enumerate(self.thresholds(thresholds, sure_of)):
            remaining_rows: list[Tensor] = []
            remaining_states: list[StageState] = []
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                upstream = None
                if state is not None:
                    upstream = state[start : start + batch_size].padded(batch_size)
                padded = pad_images(inputs[batch], batch_size)
                output = self._run_stage(index, padded, upstream)[: len(batch)]
                scores_nC = scores(output.logits)
                signal_n, label_n = confidence(scores_nC, parts)
                confidence_n = scores_nC.gather(1, label_n.unsqueeze(1)).squeeze(1)
                exits_n = exit_mask(signal_n, threshold).cpu()
                labels[batch[exits_n]] = label_n.cpu()[exits_n]
                confidences[batch[exits_n]] = confidence_n.cpu()[exits_n]
                exit_stages[batch[exits_n]] = index + 1
                remaining_rows.append(batch[~exits_n])
                if output.state is not None:
                    remaining_states.append(output.state[(~exits_n).nonzero().squeeze(1)])
            # Survivors of several batches are joined, so that deeper stages run full batches.
            rows = torch.cat([rows[:0], *remaining_rows])
            state = StageState.join(remaining_states) if remaining_states else None
        return Prediction(labels, confidences, exit_stages)
