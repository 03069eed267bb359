"""The recipe's optimizer and its parameter groups."""

from typing import Any

import torch
from torch import nn

from dvt.training.muon import Muon
from dvt.training.recipe import TrainingRecipe

__all__ = ["Optimizers"]

_ADAM_BETAS = (0.9, 0.99)


class Optimizers:
    """One or two optimizers used as one; all groups share the learning rate."""

    def __init__(self, model: nn.Module, recipe: TrainingRecipe) -> None:
        matrices, heads, others = _split_parameters(model)
        undecayed = {"params": others, "weight_decay": 0.0}
        decay, rate = recipe.weight_decay, recipe.learning_rate
        self._members: list[torch.optim.Optimizer]
        if recipe.optimizer == "muon":
            groups = [{"params": heads, "weight_decay": decay}, undecayed]
            self._members = [
                Muon(matrices, rate, recipe.momentum, decay),
                torch.optim.AdamW(groups, lr=rate, betas=_ADAM_BETAS, fused=True),
            ]
            return
        groups = [{"params": matrices + heads, "weight_decay": decay}, undecayed]
        if recipe.optimizer == "sgd":
            nesterov = recipe.momentum > 0
            member: torch.optim.Optimizer = torch.optim.SGD(
                groups, lr=rate, momentum=recipe.momentum, nesterov=nesterov
            )
        else:
            member = torch.optim.AdamW(groups, lr=rate, betas=_ADAM_BETAS, fused=True)
        self._members = [member]

    def unscale(self, scaler: torch.amp.GradScaler) -> None:
        """Removes the loss scale from all gradients."""
        for member in self._members:
            scaler.unscale_(member)

    def step(self, learning_rate: float, is_finite: bool = True) -> None:
        """Updates all parameters and clears their gradients.

        Args:
            learning_rate: of this step.
            is_finite: whether the gradients are finite; otherwise the update is skipped.
        """
        for member in self._members:
            for group in member.param_groups:
                group["lr"] = learning_rate
            if is_finite:
                member.step()
            member.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """The state for `load_state_dict`."""
        return [member.state_dict() for member in self._members]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restores a state from `state_dict`."""
        for member, state in zip(self._members, states, strict=True):
            member.load_state_dict(state)


def _split_parameters(
    model: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Matrices, matrices of heads, and all others, which never decay (DeiT).

    The others are biases, norms, class tokens and positions.
    """
    matrices, heads, others = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim <= 1 or name.endswith(("class_token", "positions")):
            others.append(parameter)
        elif ".head." in name:
            heads.append(parameter)
        else:
            matrices.append(parameter)
    return matrices, heads, others
