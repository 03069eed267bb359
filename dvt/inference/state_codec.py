"""Stage state between processes: numpy arrays of 8, 16 or 32 bits, decoded without a copy.

numpy has no bfloat16, so its bits are stored as int16. Shapes: n images, C = L*H channels, G image
tokens, N = G + 1 tokens, D width.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.reuse import StageState, StateShape

__all__ = [
    "STATE_FORMATS",
    "EncodedState",
    "StateFormat",
    "decode_state",
    "encode_state",
    "state_bytes",
    "tensor_view",
]

StateFormat = Literal["float32", "bfloat16", "int8"]
STATE_FORMATS: tuple[StateFormat, ...] = get_args(StateFormat)

_INT8_MAX = 127  # symmetric around 0


@dataclass(frozen=True, slots=True)
class EncodedState:
    """A `StageState` as arrays.

    Attributes:
        features: [n, G, D], float32 or the bits of bfloat16; None without feature reuse.
        relations: [C, n, N, N], float32, the bits of bfloat16, or int8; None without relationship
            reuse.
        scales: [C, n, N, 1], bits of bfloat16, the value of one int8 step of a row; None unless
            relations are int8.
        logits: [n, num_classes], always float32; None if no stage reads them.
    """

    features: NDArray[np.float32] | NDArray[np.int16] | None
    relations: NDArray[np.float32] | NDArray[np.int16] | NDArray[np.int8] | None
    scales: NDArray[np.int16] | None
    logits: NDArray[np.float32] | None = None

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """The arrays that are not None."""
        parts = (self.features, self.relations, self.scales, self.logits)
        return [part for part in parts if part is not None]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> "EncodedState":
        """The state of some of the images; a slice makes no copy."""
        return EncodedState(
            None if self.features is None else self.features[rows],
            None if self.relations is None else self.relations[:, rows],
            None if self.scales is None else self.scales[:, rows],
            None if self.logits is None else self.logits[rows],
        )

    @classmethod
    def join(cls, states: "list[EncodedState]") -> "EncodedState":
        """The concatenated states of several batches of the same cascade."""

        def joined(parts: list[Any], axis: int) -> Any:
            return None if parts[0] is None else np.concatenate(parts, axis)

        return cls(
            joined([state.features for state in states], 0),
            joined([state.relations for state in states], 1),
            joined([state.scales for state in states], 1),
            joined([state.logits for state in states], 0),
        )

    @property
    def num_bytes(self) -> int:
        """Size of all arrays."""
        return sum(array.nbytes for array in self.arrays)


def state_bytes(shape: StateShape, state_format: StateFormat) -> int:
    """Bytes of one image's encoded state."""
    features, logits = shape.num_features, 4 * shape.num_logits
    relations = shape.num_channels * shape.num_tokens**2
    if state_format == "float32":
        return 4 * (features + relations) + logits
    if state_format == "bfloat16":
        return 2 * (features + relations) + logits
    return 2 * features + relations + 2 * shape.num_channels * shape.num_tokens + logits


@torch.inference_mode()
def encode_state(state: StageState, state_format: StateFormat) -> EncodedState:
    """Encodes a state for transport.

    Args:
        state: on any device, in any precision.
        state_format: "float32" is lossless; "bfloat16" keeps 8 bits of mantissa; "int8" stores
            features as bfloat16 and relations in 8 bits relative to the largest of their row.
    """
    dtype = torch.float32 if state_format == "float32" else torch.bfloat16
    features = None if state.features is None else _array(state.features.to(dtype))
    logits = None if state.logits is None else _array(state.logits)
    if state.relations is None:
        return EncodedState(features, None, None, logits)
    if state_format != "int8":
        return EncodedState(features, _array(state.relations.to(dtype)), None, logits)
    relations = state.relations.float()
    scales = (relations.abs().amax(dim=-1, keepdim=True) / _INT8_MAX).bfloat16()
    # Any divisor does for a row of zeros.
    divisor = torch.where(scales == 0, 1, scales).float()
    # The rounded scale may be slightly too small for the row's largest value.
    steps = (relations / divisor).round_().clamp_(-_INT8_MAX, _INT8_MAX).to(torch.int8)
    return EncodedState(features, _array(steps), _array(scales), logits)


@torch.inference_mode()
def decode_state(encoded: EncodedState, device: torch.device, dtype: torch.dtype) -> StageState:
    """Decodes a state onto a device, in a precision; copies only arrays that change.

    The tensors may share read-only memory: never write into them.
    """
    features = None if encoded.features is None else _floats(encoded.features)
    relations = None
    if encoded.relations is not None and encoded.scales is None:
        relations = _floats(encoded.relations)
    elif encoded.relations is not None and encoded.scales is not None:
        # Widened on the device, so that the copy stays small.
        steps = tensor_view(encoded.relations).to(device).to(dtype)
        relations = steps * _floats(encoded.scales).to(device, dtype)
    logits = None if encoded.logits is None else tensor_view(encoded.logits)
    return StageState(features, relations, logits).to(device, dtype)


def _array(values: Tensor) -> NDArray[Any]:
    values = values.cpu().contiguous()
    if values.dtype == torch.bfloat16:
        values = values.view(torch.int16)
    array: NDArray[Any] = values.numpy()
    return array


def _floats(array: NDArray[Any]) -> Tensor:
    tensor = tensor_view(array)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor


def tensor_view(array: NDArray[Any]) -> Tensor:
    """A tensor that shares the array's memory, which is read-only in Ray's object store."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
