"""Stages run from uint8 pixels, padded to the batch size, on CPU and GPU."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import dvt
from dvt.preprocess import normalise, pixels_to_unit
from dvt.reuse import StageState

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)


def logits_of_all_stages(
    executor: dvt.inference.StageExecutor, pixels: NDArray[np.uint8], batch_size: int
) -> list[torch.Tensor]:
    uploaded = executor.upload(pixels)()
    state: StageState | None = None
    logits = []
    for stage in range(executor.spec.num_stages):
        output = executor.run(stage, uploaded, state, batch_size)
        logits.append(output.logits.float().cpu())
        # The next run of a stage may overwrite its output.
        state = None if output.state is None else StageState.join([output.state])
    return logits


@pytest.mark.parametrize("batch_size", [5, 8])
def test_the_executor_gives_the_logits_of_the_model(
    batch_size: int, tiny_cascade: Callable[..., dvt.Cascade], pixels: NDArray[np.uint8]
) -> None:
    model = tiny_cascade(tokenizer="t2t")
    images = normalise(pixels_to_unit(torch.from_numpy(pixels)), model.config.preprocess)
    with torch.inference_mode():
        expected = model(images)
    executor = model.make_executor(CPU, torch.float32)
    for got, wanted in zip(
        logits_of_all_stages(executor, pixels, batch_size), expected, strict=True
    ):
        assert got.shape == (5, 5), "padding is cut off again"
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_the_executor_runs_in_its_precision(
    tiny_cascade: Callable[..., dvt.Cascade], pixels: NDArray[np.uint8]
) -> None:
    executor = tiny_cascade(tokenizer="t2t").make_executor(CPU, torch.bfloat16)
    output = executor.run(0, executor.upload(pixels)(), None, 5)
    assert output.logits.dtype == torch.bfloat16
    assert output.state is not None
    assert output.state.features is not None
    assert output.state.features.dtype == torch.bfloat16


def test_freed_memory_stays_in_the_process() -> None:
    """3 GB stay resident after they are freed; in a separate process, which then ends."""
    script = """
import torch
from pathlib import Path
from dvt.inference.memory import keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
assert keep_freed_memory()
before = resident()
torch.ones(750_000_000)
assert resident() - before > 2.5e9
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@needs_cuda
@pytest.mark.parametrize("tokenizer", ["patch", "t2t", "conv"])
def test_cuda_graphs_give_the_logits_of_the_model_batch_after_batch(
    tokenizer: str, tiny_cascade: Callable[..., dvt.Cascade], pixels: NDArray[np.uint8]
) -> None:
    """Several batches through the same graphs, of sizes below and at the graph's."""
    model = tiny_cascade(tokenizer=tokenizer, image_size=48)
    images = normalise(pixels_to_unit(torch.from_numpy(pixels)), model.config.preprocess)
    with torch.inference_mode():
        expected = model(images)
    executor = model.make_executor(torch.device("cuda"), torch.float32)
    for count in (5, 3, 1, 5):
        for got, wanted in zip(
            logits_of_all_stages(executor, pixels[:count], 5), expected, strict=True
        ):
            torch.testing.assert_close(got, wanted[:count], rtol=1e-3, atol=1e-3)


@needs_cuda
def test_reused_buffers_do_not_corrupt_pixels(
    tiny_cascade: Callable[..., dvt.Cascade],
) -> None:
    executor = tiny_cascade().make_executor(torch.device("cuda"), torch.float32)
    batches = [np.full((64, 24, 24, 3), value, dtype=np.uint8) for value in range(8)]
    arrivals = [executor.upload(batch) for batch in batches]
    for value, arrive in enumerate(arrivals):
        assert (arrive() == value).all()
