"""The exit rule: an image takes the first exit whose confidence reaches the threshold.

Confidence is the largest softmax probability (DVT, section 3.1), always computed in float32, so
that reduced precision affects the logits only. Shapes: B images, C classes.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from dvt.errors import ModelError

__all__ = ["ALWAYS_EXIT", "FULL_DEPTH", "confidence", "exit_mask", "exit_thresholds", "scores"]

# No probability reaches this threshold: every image continues to the next stage.
FULL_DEPTH = 2.0

# The threshold of the last exit: every remaining image takes it.
ALWAYS_EXIT = float("-inf")


def scores(logits_BC: Tensor) -> Tensor:
    """Softmax probabilities [B, C] in float32."""
    return logits_BC.float().softmax(dim=-1)


def confidence(scores_BC: Tensor) -> tuple[Tensor, Tensor]:
    """The exit signal [B] and the label [B] of every image, here the largest probability's.

    Everything that decides about exits uses it: `Cascade.predict`, the engine, calibration.
    """
    largest = scores_BC.max(dim=-1)
    return largest.values, largest.indices


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
