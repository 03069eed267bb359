"""Times the networks of `photos` in ONNX Runtime, OpenVINO and torch, on the CPU.

    python -m benchmarks.runtimes --out benchmarks/results/runtimes.json

All contenders run in one process, in turns, on random pixels; times are medians, in milliseconds an
image: on the clock, and of all processors together, which other load on the machine changes less. A
contender is a network with its image size, a runtime, a batch size and a number of threads.
Runtimes that are not installed are left out; OpenVINO is no dependency of this project.

Also reports whether the logits of an image have the same bits at every place of a batch, and with
one and two threads.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reporting import argument_parser, in_turns, report
from dvt.members.efficientnet_lite import (
    EfficientNetLite,
    load_efficientnet_lite,
    normalise_pixels,
)
from dvt.members.onnx_graph import onnx_graph
from dvt.members.onnx_session import open_session

Pixels = NDArray[np.uint8]
Logits = NDArray[np.float32]
Run = Callable[[Pixels], Logits]

_NETWORKS = (
    ("efficientnet_lite0", 160),
    ("efficientnet_lite0", 224),
    ("efficientnet_lite2", 224),
)


def arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    return parser.parse_args()


def main() -> None:
    given = arguments()
    networks, differences = [], {}
    for name, size in _NETWORKS:
        network = load_efficientnet_lite(name).requires_grad_(False)
        for num_threads in given.threads:
            runs = contenders(network, size, num_threads)
            for batch_size in given.batch_sizes:
                pixels = random_pixels(batch_size, size)
                timed = {key: timer(run, pixels, num_threads) for key, run in runs.items()}
                seconds = in_turns(timed, given.rounds)
                entry = {"network": name, "image_size": size, "batch_size": batch_size}
                figures = {
                    field: {
                        key: round(1000 * statistics.median(column) / batch_size, 2)
                        for key, values in seconds.items()
                        for column in [[value[number] for value in values]]
                    }
                    for number, field in enumerate(("ms_per_image", "processor_ms_per_image"))
                }
                networks.append(entry | {"threads": num_threads} | figures)
                print(networks[-1], flush=True)
        differences[f"{name} {size} px"] = bit_differences(network, size)
    report({"contenders": networks, "differing_logits": differences}, given)


def random_pixels(batch_size: int, size: int) -> Pixels:
    shape = (batch_size, size, size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def timer(run: Run, pixels: Pixels, num_threads: int) -> Callable[[], tuple[float, float]]:
    def seconds() -> tuple[float, float]:
        """On the clock, and of all processors."""
        torch.set_num_threads(num_threads)
        started, started_processors = time.perf_counter(), time.process_time()
        run(pixels)
        return time.perf_counter() - started, time.process_time() - started_processors

    return seconds


def contenders(network: EfficientNetLite, size: int, num_threads: int) -> dict[str, Run]:
    """Functions from pixels to logits."""
    graph = onnx_graph(network, size)
    session = open_session(graph, num_threads)
    runs: dict[str, Run] = {
        "onnxruntime": lambda pixels: np.asarray(session.run(["logits"], {"pixels": pixels})[0])
    }
    for precision in ("f32", "bf16"):
        run = openvino(graph, num_threads, precision)
        if run is not None:
            runs[f"openvino {precision}"] = run
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    runs["torch f32"] = lambda pixels: torch_logits(network, pixels, torch.float32)
    runs["torch bf16"] = lambda pixels: torch_logits(network, pixels, torch.bfloat16)
    fused = onednn(network, size)
    runs["torch onednn f32"] = lambda pixels: torch_logits(fused, pixels, torch.float32)
    return runs


def openvino(graph: bytes, num_threads: int, precision: str) -> Run | None:
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": num_threads,
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda pixels: np.asarray(request.infer({"pixels": pixels})["logits"], np.float32)


def onednn(network: EfficientNetLite, size: int) -> Any:
    """The network traced and frozen, its operators fused by oneDNN."""
    example = normalise_pixels(torch.from_numpy(random_pixels(2, size)))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        traced = torch.jit.trace(network, example)
        return torch.jit.optimize_for_inference(torch.jit.freeze(traced))


@torch.inference_mode()
def torch_logits(network: Any, pixels: Pixels, dtype: torch.dtype) -> Logits:
    images = normalise_pixels(torch.from_numpy(pixels))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        return np.asarray(network(images)[0].float().numpy())


def bit_differences(network: EfficientNetLite, size: int) -> dict[str, int]:
    """Logits of ONNX Runtime that differ from those of one thread and the first order."""
    graph, pixels = onnx_graph(network, size), random_pixels(16, size)
    sessions = {num: open_session(graph, num) for num in (1, 2)}
    (expected,) = sessions[1].run(["logits"], {"pixels": pixels})
    differing = {"other_places": 0, "two_threads": 0}
    for shift in (1, 5, 11):
        for num_threads, key in ((1, "other_places"), (2, "two_threads")):
            rolled = np.roll(pixels, shift, axis=0)
            (logits,) = sessions[num_threads].run(["logits"], {"pixels": rolled})
            differing[key] += int((np.roll(logits, -shift, axis=0) != expected).sum())
    return differing


if __name__ == "__main__":
    main()
