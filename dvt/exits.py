"""The exit rule: an image takes the first exit whose confidence reaches the threshold.

Confidence is the largest softmax probability (DVT, section 3.1), always computed in float32, so
that reduced precision affects the logits only. Where an image must be sure of a group, it is the
largest summed probability of a part of the classes (`dvt.labels.ClassGroups`).

Sums of probabilities are exact, so they depend neither on the batch nor on the device: the
probabilities are rounded to multiples of 2^-50, whose sums float64 represents without error.
Shapes: B images, C classes, G groups.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dvt.errors import ModelError

__all__ = [
    "ALWAYS_EXIT",
    "FULL_DEPTH",
    "GROUP_FLOOR",
    "confidence",
    "exit_mask",
    "exit_thresholds",
    "group_scores",
    "scores",
]

# No probability reaches this threshold: every image continues to the next stage.
FULL_DEPTH = 2.0

# The threshold of the last exit: every remaining image takes it.
ALWAYS_EXIT = float("-inf")

# Groups with a smaller summed probability are left out.
GROUP_FLOOR = 0.1

_UNITS = 2.0**50


def scores(logits_BC: Tensor) -> Tensor:
    """Softmax probabilities [B, C] in float32."""
    return logits_BC.float().softmax(dim=-1)


def confidence(scores_BC: Tensor, parts_C: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The exit signal [B] and the label [B] of every image.

    Everything that decides about exits uses it: `Cascade.predict`, the engine, calibration.

    Args:
        scores_BC: softmax probabilities, float32; may have more leading dimensions.
        parts_C: the part of each class, numbers below C; None if each class is its own.

    Returns:
        The largest probability and its class. With parts, the largest probability of a part and the
        most probable class *within that part*, so that the label never contradicts the signal.
    """
    if parts_C is None:
        largest = scores_BC.max(dim=-1)
        return largest.values, largest.indices
    units_BC = _units(scores_BC)
    signal = torch.zeros_like(units_BC).index_add_(-1, parts_C, units_BC).max(dim=-1)
    in_part_BC = parts_C == signal.indices.unsqueeze(-1)
    label_B = scores_BC.masked_fill(~in_part_BC, -1.0).max(dim=-1).indices
    return _probabilities(signal.values), label_B


def group_scores(scores_BC: Tensor, membership_CG: Tensor) -> Tensor:
    """The summed probability of each group, [B, G] float32; 0 below `GROUP_FLOOR`.

    Args:
        scores_BC: softmax probabilities, float32.
        membership_CG: 1 where a class is in a group, else 0, float64.
    """
    sums_BG = _probabilities(_units(scores_BC) @ membership_CG)
    return sums_BG.masked_fill(sums_BG < GROUP_FLOOR, 0.0)


def _units(scores: Tensor) -> Tensor:
    return (scores.double() * _UNITS).round()


def _probabilities(units: Tensor) -> Tensor:
    """As float32, at most 1, which the sum of all rounded scores may exceed."""
    return (units / _UNITS).clamp(max=1.0).float()


def exit_thresholds(thresholds: Sequence[float], num_stages: int) -> tuple[float, ...]:
    """Validates thresholds, one for every exit but the last.

    Args:
        thresholds: one value for each exit but the last, or one for each exit, the last of which
            is ignored (the published lists have such a placeholder).
        num_stages: exits of the cascade.

    Raises:
        ModelError: wrong number of values, or a value is not finite.
    """
    values = tuple(float(value) for value in thresholds)
    if len(values) not in (num_stages - 1, num_stages):
        raise ModelError(
            f"thresholds: a cascade of {num_stages} stages takes {num_stages - 1} values, one for "
            f"each exit but the last (got {len(values)})"
        )
    kept = values[: num_stages - 1]
    for value in kept:
        if not math.isfinite(value):
            raise ModelError(
                f"thresholds: must be finite numbers, usually between 0 and 1 (got {value})"
            )
    return kept


def exit_mask(confidences_B: Tensor, threshold: float) -> Tensor:
    """True for the images [B] whose confidence reaches the threshold.

    Raises:
        ModelError: a confidence is NaN; such an image would take no exit, not even the last.
    """
    if confidences_B.isnan().any():
        raise ModelError("confidence: is not a number; the weights or an image overflow")
    return confidences_B >= threshold
