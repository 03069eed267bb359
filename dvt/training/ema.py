"""Exponential moving average of a model's weights."""

import torch
from torch import Tensor, nn

__all__ = ["ExponentialMovingAverage"]


class ExponentialMovingAverage:
    """Averages parameters and buffers; integers are copied.

    Args:
        model: to average.
        decay: per step; limited to (1 + steps) / (10 + steps), so that the random initial weights
            are forgotten quickly.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self._num_updates = 0
        self._weights = {key: value.clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Adds the current weights; call it after every optimizer step."""
        self._num_updates += 1
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        averages, values = [], []
        for key, value in self._model.state_dict().items():
            if value.is_floating_point():
                averages.append(self._weights[key])
                values.append(value)
            else:
                self._weights[key].copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)

    def weights(self) -> dict[str, Tensor]:
        """The averages under the model's keys; not copies."""
        return dict(self._weights)

    def state_dict(self) -> dict[str, object]:
        """The state for `load_state_dict`."""
        return {"num_updates": self._num_updates, "weights": self._weights}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores a state from `state_dict`."""
        num_updates, weights = state["num_updates"], state["weights"]
        assert isinstance(num_updates, int)
        assert isinstance(weights, dict)
        self._num_updates = num_updates
        for key, value in self._weights.items():
            value.copy_(weights[key])
