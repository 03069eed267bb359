"""How likely each exit is right, image by image, from what all exits were confident of.

Whether an answer was right is 0 or 1, and a search that picks the best of thousands of thresholds
by sums of such bits picks those that were lucky. Here the bits of every exit are replaced by their
expectation given the confidences of all exits: a logistic regression, whose few coefficients cannot
follow single images. Sums over any region of confidences keep their expectation and lose most of
their noise.

Shapes: E exits, n images, F = E + 1 features.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["expected_values"]

Floats = NDArray[np.float64]

_RIDGE = 1.0  # on standardised features: as strong as a handful of images
_MAX_STEPS = 50
_EDGE = 1e-6  # confidences of 0 and 1 have no finite logit


def expected_values(confidences_En: NDArray[np.float32], right_En: NDArray[np.bool_]) -> Floats:
    """Probability [E, n] that each exit is right on each image.

    Args:
        confidences_En: largest softmax probability.
        right_En: whether the answer was right, or agreed with the last exit.
    """
    clipped = np.clip(confidences_En.astype(np.float64), _EDGE, 1 - _EDGE)
    logits = np.log(clipped / (1 - clipped))
    deviations = np.maximum(logits.std(axis=1, keepdims=True), _EDGE)
    features = ((logits - logits.mean(axis=1, keepdims=True)) / deviations).T
    features_nF = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    return np.stack([_logistic(features_nF, right.astype(np.float64)) for right in right_En])


def _logistic(features_nF: Floats, target_n: Floats) -> Floats:
    """Fitted probabilities of a ridge logistic regression, by Newton's method."""
    share = float(target_n.mean())
    if share in (0.0, 1.0):
        return np.full(len(target_n), share)
    penalty = np.full(features_nF.shape[1], _RIDGE)
    penalty[0] = 0.0  # the intercept is free, so that the mean is exact
    weights = np.zeros(features_nF.shape[1])
    weights[0] = np.log(share / (1 - share))

    def loss(candidate: Floats) -> float:
        scores = features_nF @ candidate
        likelihood = np.logaddexp(0, scores) - target_n * scores
        return float(likelihood.sum() + (penalty * candidate**2).sum() / 2)

    current = loss(weights)
    for _ in range(_MAX_STEPS):
        fitted = _sigmoid(features_nF @ weights)
        slope = features_nF.T @ (fitted - target_n) + penalty * weights
        curvature = (features_nF * (fitted * (1 - fitted))[:, None]).T @ features_nF
        # The small term keeps the intercept's curvature from vanishing where all fits are sure.
        step = np.linalg.solve(curvature + np.diag(penalty + 1e-9), slope)
        while (after := loss(weights - step)) > current and np.abs(step).max() > 1e-9:
            step /= 2
        if current - after <= 1e-9 * max(current, 1.0):
            break
        weights, current = weights - step, after
    return _sigmoid(features_nF @ weights)


def _sigmoid(scores: Floats) -> Floats:
    result: Floats = np.exp(-np.logaddexp(0, -scores))
    return result
