"""Muon: momentum with orthogonalised updates, for matrices and convolutions.

Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). Update
scale and decoupled decay follow Liu et al. (arXiv 2502.16982), so AdamW's learning rates apply.
Unlike `torch.optim.Muon` it accepts convolutions, as matrices with one row per output channel, and
iterates in float32, which every CPU multiplies fast.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonalise"]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximates U V^T of a matrix U S V^T by Newton-Schulz; singular values in 0.7 to 1.2."""
    first, second, third = _COEFFICIENTS
    x = matrix.float()
    is_tall = x.shape[0] > x.shape[1]
    if is_tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=second, alpha=third), x, beta=first)
    return x.T if is_tall else x


class Muon(torch.optim.Optimizer):
    """The Muon optimizer; parameters must have at least two dimensions."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update with Nesterov momentum."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(average, group["momentum"]).flatten(1)
        update = orthogonalise(direction) * (0.2 * max(direction.shape) ** 0.5)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.view(parameter.shape).to(parameter.dtype), alpha=-group["lr"])
