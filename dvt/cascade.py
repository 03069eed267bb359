"""The cascade: all stages in one module, at full depth or with early exits.

`Cascade(images)` runs every stage; training differentiates it. `Cascade.predict` applies the exit
rule in one process and removes images that exited from the batch. The distributed engine uses
neither and runs the stages one by one.

Shapes: B images, S pixels per side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from dvt.config import CascadeConfig
from dvt.errors import ModelError
from dvt.exits import ALWAYS_EXIT, confidence, exit_mask, exit_thresholds, scores
from dvt.reuse import StageState, pad_images
from dvt.stage import Stage
from dvt.tokenizers import ConvTokenizer
from dvt.validation import FrozenModel

__all__ = ["Calibration", "Cascade", "Prediction", "ThresholdProvenance"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predictions of a batch: labels [B] int64, confidences [B] float32, exit_stages [B] from 1."""

    labels: Tensor
    confidences: Tensor
    exit_stages: Tensor


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
    """Default thresholds of a trained cascade, and the figures behind them.

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


class Cascade(nn.Module):
    """A Dynamic Vision Transformer.

    Attributes:
        config: its shapes.
        labels: class names in order of their ids, or None.
        calibration: thresholds and measured figures; empty for an untrained model.
    """

    def __init__(
        self,
        config: CascadeConfig,
        labels: tuple[str, ...] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.labels = labels
        self.calibration = calibration or Calibration()
        self.stages = nn.ModuleList(Stage(config, index) for index in range(config.num_stages))
        self.apply(_initialise)

    def forward(self, images_B3SS: Tensor) -> list[Tensor]:
        """Logits [B, num_classes] of every exit at full depth."""
        state: StageState | None = None
        logits: list[Tensor] = []
        for stage in self.stages:
            output = stage(images_B3SS, state)
            logits.append(output.logits)
            state = output.state
        return logits

    @torch.inference_mode()
    def predict(
        self,
        images_B3SS: Tensor,
        thresholds: Sequence[float] | None = None,
        batch_size: int = 64,
    ) -> Prediction:
        """Predicts with early exits; later stages run only on images that have not exited.

        Args:
            images_B3SS: any number of normalised images.
            thresholds: one for each exit but the last; None for the model's defaults.
            batch_size: images per forward pass. Shorter batches are padded to it, so predictions
                equal those of the engine at the same batch size.

        Raises:
            ModelError: thresholds missing or of the wrong length, or images of the wrong shape.
        """
        size = self.config.image_size
        if images_B3SS.ndim != 4 or tuple(images_B3SS.shape[1:]) != (3, size, size):
            raise ModelError(
                f"images: must be [B, 3, {size}, {size}] (got {list(images_B3SS.shape)})"
            )
        if batch_size < 1:
            raise ModelError(f"batch_size: must be at least 1 (got {batch_size})")
        num_images = len(images_B3SS)
        labels = torch.empty(num_images, dtype=torch.int64)
        confidences = torch.empty(num_images, dtype=torch.float32)
        exit_stages = torch.empty(num_images, dtype=torch.int64)
        rows = torch.arange(num_images)
        state: StageState | None = None
        for index, threshold in enumerate(self.thresholds(thresholds)):
            remaining_rows: list[Tensor] = []
            remaining_states: list[StageState] = []
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                upstream = None
                if state is not None:
                    upstream = state[start : start + batch_size].padded(batch_size)
                images = pad_images(images_B3SS[batch], batch_size)
                output = self.stages[index](images, upstream)[: len(batch)]
                confidence_n, label_n = (part.cpu() for part in confidence(scores(output.logits)))
                exits_n = exit_mask(confidence_n, threshold)
                labels[batch[exits_n]] = label_n[exits_n]
                confidences[batch[exits_n]] = confidence_n[exits_n]
                exit_stages[batch[exits_n]] = index + 1
                remaining_rows.append(batch[~exits_n])
                if output.state is not None:
                    remaining_states.append(output.state[(~exits_n).nonzero().squeeze(1)])
            # Survivors of several batches are joined, so that deeper stages run full batches.
            rows = torch.cat([rows[:0], *remaining_rows])
            state = StageState.join(remaining_states) if remaining_states else None
        return Prediction(labels, confidences, exit_stages)

    def thresholds(self, thresholds: Sequence[float] | None = None) -> tuple[float, ...]:
        """Thresholds of all exits: those given or the model's defaults, and that of the last exit.

        Raises:
            ModelError: none are given and the model has none, or the number is wrong.
        """
        chosen = self.calibration.thresholds if thresholds is None else thresholds
        if chosen is None:
            raise ModelError(
                f"thresholds: {self.config.name} has no default thresholds; "
                f"give {self.config.num_stages - 1} values"
            )
        return (*exit_thresholds(chosen, self.config.num_stages), ALWAYS_EXIT)


def _initialise(module: nn.Module) -> None:
    """Initialises as DeiT: truncated normal weights of deviation 0.02, zero biases.

    Stems follow He et al. (2015), which preserves the scale of activations.
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, ConvTokenizer):  # visited after its convolutions
        for name, weight in module.stem.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(weight)
        nn.init.kaiming_normal_(module.projection.weight, nonlinearity="linear")
    elif isinstance(module, Stage):
        nn.init.trunc_normal_(module.class_token, std=0.02)
