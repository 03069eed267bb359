"""Which parameter is updated how, by the recipe's optimizer."""

from typing import Any

import torch
from torch import nn

from dvt.training.muon import Muon
from dvt.training.recipe import TrainingRecipe

__all__ = ["Optimizers"]

_ADAM_BETAS = (0.9, 0.99)


class Optimizers:
    """One or two optimizers as one; all groups share the learning rate."""

    def __init__(self, model: nn.Module, recipe: TrainingRecipe) -> None:
        matrices, heads, small = _sorted_parameters(model)
        kept = {"params": small, "weight_decay": 0.0}
        decay, rate = recipe.weight_decay, recipe.learning_rate
        self._members: list[torch.optim.Optimizer]
        if recipe.optimizer == "muon":
            groups = [{"params": heads, "weight_decay": decay}, kept]
            self._members = [
                Muon(matrices, rate, recipe.momentum, decay),
                torch.optim.AdamW(groups, lr=rate, betas=_ADAM_BETAS, fused=True),
            ]
            return
        groups = [{"params": matrices + heads, "weight_decay": decay}, kept]
        if recipe.optimizer == "sgd":
            nesterov = recipe.momentum > 0
            member: torch.optim.Optimizer = torch.optim.SGD(
                groups, lr=rate, momentum=recipe.momentum, nesterov=nesterov
            )
        else:
            member = torch.optim.AdamW(groups, lr=rate, betas=_ADAM_BETAS, fused=True)
        self._members = [member]

    def unscale(self, scaler: torch.amp.GradScaler) -> None:
        """Gradients as they would be had the loss not been scaled."""
        for member in self._members:
            scaler.unscale_(member)

    def step(self, learning_rate: float, is_sound: bool = True) -> None:
        """Updates all parameters and forgets their gradients.

        Args:
            learning_rate: of this step.
            is_sound: whether the gradients are finite; otherwise they are only forgotten.
        """
        for member in self._members:
            for group in member.param_groups:
                group["lr"] = learning_rate
            if is_sound:
                member.step()
            member.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """Moments and momentum of every parameter."""
        return [member.state_dict() for member in self._members]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Takes over what `state_dict` gave."""
        for member, state in zip(self._members, states, strict=True):
            member.load_state_dict(state)


def _sorted_parameters(
    model: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Matrices, matrices of heads, and what never decays (DeiT).

    The last are biases, norms, class tokens and positions.
    """
    matrices, heads, small = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim <= 1 or name.endswith(("class_token", "positions")):
            small.append(parameter)
        elif ".head." in name:
            heads.append(parameter)
        else:
            matrices.append(parameter)
    return matrices, heads, small
