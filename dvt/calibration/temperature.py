"""Temperature of an exit, and the weight of the previous exit's logits.

The exit's logits become `logits / temperature + carry * previous`. Both parameters minimise the
cross-entropy with labels, or with the scores of the last exit where there are no labels (Guo et al.
2017, section 4.2, with a second feature). The problem is convex in (1 / temperature, carry), so a
few steps of Newton's method solve it. Shapes: n images, C classes, P = 1 or 2 parameters.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ExitFit", "fit_exit"]

_MAX_STEPS = 50
_TOLERANCE = 1e-6
_LEAST_INVERSE = 0.01  # temperatures up to 100
_RIDGE = 1e-9  # an exit that is always right, or equal logits, have no curvature


@dataclass(frozen=True, slots=True)
class ExitFit:
    """Fitted parameters of an exit.

    Attributes:
        temperature: divides its logits.
        carry: weight of the previous exit's logits, at least 0.
        cross_entropy: with the targets, in nats.
    """

    temperature: float
    carry: float
    cross_entropy: float


def fit_exit(logits_nC: Tensor, previous_nC: Tensor | None, targets_nC: Tensor) -> ExitFit:
    """Fits temperature and carry of one exit.

    Args:
        logits_nC: of the exit's own stage.
        previous_nC: of the exit before, after its own fit; None to carry nothing.
        targets_nC: probabilities to meet: one-hot labels, or scores of another exit.
    """
    own = logits_nC.float()
    if previous_nC is not None:
        weights, loss = _newton(torch.stack([own, previous_nC.float()]), targets_nC)
        if weights[1] > 0:
            return ExitFit(1 / max(float(weights[0]), _LEAST_INVERSE), float(weights[1]), loss)
    weights, loss = _newton(own[None], targets_nC)
    return ExitFit(1 / max(float(weights[0]), _LEAST_INVERSE), 0.0, loss)


def _newton(features_PnC: Tensor, targets_nC: Tensor) -> tuple[Tensor, float]:
    """Weights [P] of the features that minimise the cross-entropy, and its value."""
    num = len(features_PnC)
    weights = torch.zeros(num, dtype=torch.float64)
    weights[0] = 1.0
    loss, gradient, hessian = _derivatives(features_PnC, targets_nC, weights)
    for _ in range(_MAX_STEPS):
        step = torch.linalg.solve(hessian + _RIDGE * torch.eye(num, dtype=torch.float64), gradient)
        size = 1.0
        # Halved until the loss falls: far from the minimum a full step may overshoot.
        while size > _TOLERANCE:
            found = _derivatives(features_PnC, targets_nC, weights - size * step)
            if found[0] <= loss:
                break
            size /= 2
        else:
            break
        weights, is_done = weights - size * step, loss - found[0] < _TOLERANCE
        loss, gradient, hessian = found
        if is_done:
            break
    return weights, loss


def _derivatives(
    features_PnC: Tensor, targets_nC: Tensor, weights_P: Tensor
) -> tuple[float, Tensor, Tensor]:
    """Cross-entropy, gradient [P] and Hessian [P, P] at some weights."""
    logits_nC = torch.tensordot(weights_P.float(), features_PnC, dims=1)
    log_scores_nC = logits_nC.log_softmax(dim=1)
    scores_nC = log_scores_nC.exp()
    num_images = len(logits_nC)
    loss = -float((targets_nC * log_scores_nC).sum(dtype=torch.float64)) / num_images
    means_Pn = (features_PnC * scores_nC).sum(dim=2).double()
    wanted_Pn = (features_PnC * targets_nC).sum(dim=2).double()
    gradient = (means_Pn - wanted_Pn).mean(dim=1)
    squares = torch.einsum("pnc,qnc,nc->pq", features_PnC, features_PnC, scores_nC).double()
    hessian = (squares - means_Pn @ means_Pn.T) / num_images
    return loss, gradient, hessian
