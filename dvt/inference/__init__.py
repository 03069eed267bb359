"""How stages are run for inference, by device: the same weights, the same results.

`make_executor` chooses. Who runs stages hands pixels in with `upload` and stages with `run`;
what a device needs for speed (graphs, pinned copies, the allocator) is this package's business.
"""

from dvt.inference.determinism import deterministic_matmul
from dvt.inference.executor import StageExecutor, make_executor
from dvt.inference.state_codec import (
    EncodedState,
    StateFormat,
    decode_state,
    encode_state,
    state_bytes,
)

__all__ = [
    "EncodedState",
    "StageExecutor",
    "StateFormat",
    "decode_state",
    "deterministic_matmul",
    "encode_state",
    "make_executor",
    "state_bytes",
]
