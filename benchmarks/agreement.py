"""What speed costs in accuracy: the fast paths against the plain float32 model, image by image.

    python -m benchmarks.agreement --model shapes --data shapes:5000:77

At every exit: how many top labels agree, and how far confidences move. `int8 state` computes like
the path before it, but what passes from stage to stage is rounded to 8 bits.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import dvt
from benchmarks.reporting import report
from dvt.device import best_device
from dvt.inference import StageExecutor, StateFormat, decode_state, encode_state, make_executor
from dvt.preprocess import normalise, pixels_to_unit
from dvt.reuse import StageState
from jobs.datasets import load_labelled
from pipeline.runtime.resource_plan import decode_settings
from tests.dvt.plain_cascade import plain_cascade


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--data", default="shapes:5000:77")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", type=Path, help="keep the results in this file too")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    model = dvt.load_model(given.model)
    pictures = load_labelled(given.data, decode_settings(model.config), model.labels)
    pixels = torch.from_numpy(pictures.pixels)
    plain = torch.cat(
        [_plain_logits(model, batch) for batch in pixels.split(given.batch_size)], dim=1
    )
    ways: dict[str, tuple[torch.dtype, StateFormat | None]] = {
        "float32": (torch.float32, None),
        "float32, bfloat16 state": (torch.float32, "bfloat16"),
        "float32, int8 state": (torch.float32, "int8"),
        "bfloat16": (torch.bfloat16, None),
        "bfloat16, int8 state": (torch.bfloat16, "int8"),
    }
    figures: dict[str, Any] = {}
    for way, (dtype, state_format) in ways.items():
        executor = make_executor(dvt.load_model(given.model), best_device(), dtype)
        parts = [
            torch.stack(list(_logits(executor, batch, state_format, given.batch_size)))
            for batch in pixels.split(given.batch_size)
        ]
        figures[way] = _compared(plain, torch.cat(parts, dim=1))
        print(way, figures[way])
    report({"images": len(pixels), "model": given.model, "data": given.data, **figures}, given)


@torch.inference_mode()
def _plain_logits(model: dvt.Cascade, pixels: Tensor) -> Tensor:
    images = normalise(pixels_to_unit(pixels), model.config.preprocess)
    outputs = plain_cascade(model.config, model.state_dict(), images)
    return torch.stack([output.logits for output in outputs])


def _logits(
    executor: StageExecutor, pixels: Tensor, state_format: StateFormat | None, batch_size: int
) -> Iterator[Tensor]:
    """Logits [B, classes] of every exit."""
    uploaded = executor.upload(pixels.numpy())()
    state: StageState | None = None
    for stage in range(executor.config.num_stages):
        output = executor.run(stage, uploaded, state, batch_size)
        yield output.logits.float().cpu()
        state = output.state
        if state is not None:
            if state_format is None:
                state = StageState.join([state])  # a copy: the next run may write over it
            else:
                encoded = encode_state(state, state_format)
                state = decode_state(encoded, executor.device, executor.dtype)


def _compared(plain_EnC: Tensor, fast_EnC: Tensor) -> dict[str, Any]:
    """Figures of each exit."""
    plain, fast = plain_EnC.softmax(-1).max(-1), fast_EnC.softmax(-1).max(-1)
    moved = (plain.values - fast.values).abs().numpy()
    relative = (plain_EnC - fast_EnC).abs().amax((1, 2)) / plain_EnC.abs().amax((1, 2))
    return {
        "labels_agree": (plain.indices == fast.indices).float().mean(1).tolist(),
        "confidence_moves_p99": np.quantile(moved, 0.99, axis=1).tolist(),
        "confidence_moves_max": moved.max(axis=1).tolist(),
        "logits_relative_max": relative.tolist(),
    }


if __name__ == "__main__":
    main()
