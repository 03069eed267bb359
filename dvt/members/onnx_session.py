"""Sessions of ONNX Runtime as the actors of a machine need them."""

from collections.abc import Mapping
from typing import Any

import onnxruntime
import torch
from numpy.typing import NDArray

__all__ = ["open_session"]

_CUDA = "CUDAExecutionProvider"
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
_FATAL = 4  # errors are raised


def open_session(
    graph: bytes,
    num_threads: int,
    device: torch.device | None = None,
    external: Mapping[str, NDArray[Any]] | None = None,
) -> onnxruntime.InferenceSession:
    """A deterministic session; its idle threads sleep, because actors share a machine's cores.

    Args:
        graph: an ONNX model.
        num_threads: of each operator on the CPU.
        device: a CUDA device is used if this build of ONNX Runtime has its provider.
        external: the tensors that the graph has in other files; they must outlive the session.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.use_deterministic_compute = True
    options.log_severity_level = _FATAL
    if external:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in external.values()]
        options.add_external_initializers(list(external), values)
    providers: list[Any] = ["CPUExecutionProvider"]
    is_cuda = device is not None and device.type == "cuda"
    if is_cuda and _CUDA in onnxruntime.get_available_providers():
        index = str(device.index or 0) if device else "0"
        providers.insert(0, (_CUDA, _CUDA_OPTIONS | {"device_id": index}))
    # Its fallback would print on standard output, and try the same again.
    return onnxruntime.InferenceSession(graph, options, providers=providers, enable_fallback=0)
