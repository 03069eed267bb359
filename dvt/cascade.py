"""The cascade: all stages in one module, at full depth or with early exits.

`Cascade(images)` runs every stage and is what training differentiates; `Cascade.predict` runs
the exit rule inside one process and really drops the images that left. The distributed engine
does neither: it runs the stages one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dvt.config import CascadeConfig
from dvt.errors import ModelError
from dvt.exits import TAKES_ALL, confidence, exit_mask, exit_thresholds
from dvt.reuse import StageState, pad_images
from dvt.stage import Stage
from dvt.tokenizers import ConvTokenizer

__all__ = ["Adopted", "Calibration", "Cascade", "Prediction"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Answers of a batch: labels [B] int64, confidences [B] float32, exit_stages [B] from 1."""

    labels: Tensor
    confidences: Tensor
    exit_stages: Tensor


@dataclass(frozen=True, slots=True)
class Adopted:
    """What the thresholds of a model were chosen for, where `dvt calibrate --adopt` set them.

    Attributes:
        of: what is not to be lost, "accuracy" or "agreement" with full depth.
        data: what they were chosen on.
        dtype: precision of the answers that they were chosen by.
        gmacs: mean cost of an image to expect.
        budget_gmacs: asked for, or None.
        max_drop: asked for, or None.
        exit_mix: asked for, or None.
        delta: probability that the bound of `max_drop` may fail.
        p_value: of the test against a larger loss.
        certified: whether the bound is proved for these thresholds.
    """

    of: str
    data: str
    dtype: str
    gmacs: float
    budget_gmacs: float | None = None
    max_drop: float | None = None
    exit_mix: tuple[float, ...] | None = None
    delta: float | None = None
    p_value: float | None = None
    certified: bool = False


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known about a trained cascade: thresholds, and the figures behind them.

    Attributes:
        thresholds: one for each exit but the last; the default of `predict`.
        accuracy_per_exit: top-1 of each exit if all images left there, as fractions.
        curve: (GMACs, accuracy) pairs of the threshold sweep.
        threshold_sweep: the thresholds at each of those points.
        data: what they were measured on.
        adopted: what the thresholds were chosen for; None for those of the training.
    """

    thresholds: tuple[float, ...] | None = None
    accuracy_per_exit: tuple[float, ...] = ()
    curve: tuple[tuple[float, float], ...] = ()
    threshold_sweep: tuple[tuple[float, ...], ...] = ()
    data: str = ""
    adopted: Adopted | None = None


class Cascade(nn.Module):
    """A Dynamic Vision Transformer.

    Attributes:
        config: what it is made of.
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
        """Logits [B, num_classes] of every exit, all images at full depth."""
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
        """Answers with early exits; images that left are not computed any further.

        Args:
            images_B3SS: normalised images [B, 3, S, S], any number of them.
            thresholds: one for each exit but the last; the model's own where None.
            batch_size: images per forward pass; shorter passes are padded to it, so that the
                answers equal those of the engine at the same batch size.

        Raises:
            ValueError: thresholds missing or of the wrong length, or images of the wrong shape.
        """
        size = self.config.image_size
        if images_B3SS.ndim != 4 or tuple(images_B3SS.shape[1:]) != (3, size, size):
            raise ModelError(
                f"images: must be [B, 3, {size}, {size}] (got {list(images_B3SS.shape)})"
            )
        if batch_size < 1:
            raise ModelError(f"batch_size: must be at least 1 (got {batch_size})")
        limits = self.thresholds(thresholds)
        total = len(images_B3SS)
        labels = torch.empty(total, dtype=torch.int64)
        confidences = torch.empty(total, dtype=torch.float32)
        exit_stages = torch.empty(total, dtype=torch.int64)
        rows = torch.arange(total)
        state: StageState | None = None
        for number, (stage, limit) in enumerate(zip(self.stages, limits, strict=True), start=1):
            staying_rows: list[Tensor] = []
            staying_states: list[StageState] = []
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                upstream = None if state is None else state[start : start + batch_size]
                if upstream is not None:
                    upstream = upstream.padded(batch_size)
                output = stage(pad_images(images_B3SS[batch], batch_size), upstream)[: len(batch)]
                confident, answers = (part.cpu() for part in confidence(output.logits))
                leaving = exit_mask(confident, limit)
                labels[batch[leaving]] = answers[leaving]
                confidences[batch[leaving]] = confident[leaving]
                exit_stages[batch[leaving]] = number
                staying_rows.append(batch[~leaving])
                if output.state is not None:
                    staying_states.append(output.state[(~leaving).nonzero().squeeze(1)])
            # Survivors of several batches are joined, so that deeper stages run full batches.
            rows = torch.cat([rows[:0], *staying_rows])
            state = StageState.join(staying_states) if staying_states else None
        return Prediction(labels, confidences, exit_stages)

    def thresholds(self, thresholds: Sequence[float] | None = None) -> tuple[float, ...]:
        """Thresholds of all exits, the last one taking everything.

        Raises:
            ValueError: none are given and the model has none, or there are too many or few.
        """
        chosen = self.calibration.thresholds if thresholds is None else thresholds
        if chosen is None:
            raise ModelError(
                f"thresholds: {self.config.name} has none of its own; "
                f"give {self.config.num_stages - 1} values"
            )
        return (*exit_thresholds(chosen, self.config.num_stages), TAKES_ALL)


def _initialise(module: nn.Module) -> None:
    """DeiT's initialisation: truncated normal weights of deviation 0.02, zero biases.

    Stems have He's, which keeps the scale of what passes through.
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, ConvTokenizer):  # comes after its convolutions
        for name, weight in module.stem.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(weight)
        nn.init.kaiming_normal_(module.projection.weight, nonlinearity="linear")
    elif isinstance(module, Stage):
        nn.init.trunc_normal_(module.class_token, std=0.02)
