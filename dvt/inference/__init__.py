"""Stages as they run in inference, by device: same weights, same results, different launch.

`Model.make_executor` chooses the executor. `StageExecutor.upload` takes pixels, `StageExecutor.run`
runs a stage; graphs, pinned copies and allocator settings stay inside this package.
"""

from dvt.inference.determinism import deterministic_matmul
from dvt.inference.evaluation import exit_scores
from dvt.inference.executor import StageExecutor, TorchExecutor
from dvt.inference.factory import make_torch_executor
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
    "TorchExecutor",
    "decode_state",
    "deterministic_matmul",
    "encode_state",
    "exit_scores",
    "make_torch_executor",
    "state_bytes",
]
