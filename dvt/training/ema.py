"""The exponential moving average of a model's weights, which is what training keeps."""

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Averages parameters and buffers; whole numbers are copied.

    Args:
        model: whose weights are averaged.
        decay: a step. At first it is less, (1 + steps) / (10 + steps), so that the random weights
            of the beginning are forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self._num_updates = 0
        self._weights = {key: value.clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """After every step of the optimizer."""
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
        """The averages, under the model's own names; not copies."""
        return dict(self._weights)

    def state_dict(self) -> dict[str, object]:
        """All that `load_state_dict` needs."""
        return {"num_updates": self._num_updates, "weights": self._weights}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Takes over what `state_dict` gave."""
        num_updates, weights = state["num_updates"], state["weights"]
        assert isinstance(num_updates, int)
        assert isinstance(weights, dict)
        self._num_updates = num_updates
        for key, value in self._weights.items():
            value.copy_(weights[key])
