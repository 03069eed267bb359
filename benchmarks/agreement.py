"""Compares the executors with the plain float32 model, image by image.

    python -m benchmarks.agreement --model shapes --data shapes:5000:77

For every exit: the share of top labels that agree, and how far confidences move. With a state
format, the state between stages is encoded and decoded, as between two pools.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

import dvt
from benchmarks.reporting import argument_parser, report
from dvt.device import best_device
from dvt.inference import StageExecutor, StateFormat, decode_state, encode_state
from dvt.preprocess import normalise, pixels_to_unit
from dvt.reuse import StageState
from jobs.datasets import load_labelled
from pipeline.runtime.resource_plan import decode_settings
from tests.dvt.plain_cascade import plain_cascade

CONTENDERS: dict[str, tuple[torch.dtype, StateFormat | None]] = {
    "float32": (torch.float32, None),
    "float32, bfloat16 state": (torch.float32, "bfloat16"),
    "float32, int8 state": (torch.float32, "int8"),
    "bfloat16": (torch.bfloat16, None),
    "bfloat16, int8 state": (torch.bfloat16, "int8"),
}


def arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--data", default="shapes:5000:77")
    parser.add_argument("--batch-size", type=int, default=64)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    model = dvt.load_cascade(given.model)
    dataset = load_labelled(given.data, decode_settings(model.spec), model.labels)
    batches = torch.from_numpy(dataset.pixels).split(given.batch_size)
    plain_EnC = torch.cat([plain_logits(model, batch) for batch in batches], dim=1)
    results: dict[str, Any] = {}
    for name, (dtype, state_format) in CONTENDERS.items():
        executor = dvt.load_cascade(given.model).make_executor(best_device(), dtype)
        logits_EBC = [
            torch.stack(list(executor_logits(executor, batch, state_format, given.batch_size)))
            for batch in batches
        ]
        results[name] = compare(plain_EnC, torch.cat(logits_EBC, dim=1))
        print(name, results[name])
    facts = {"images": len(dataset.pixels), "model": given.model, "data": given.data}
    report({**facts, **results}, given)


@torch.inference_mode()
def plain_logits(model: dvt.Cascade, pixels: Tensor) -> Tensor:
    images = normalise(pixels_to_unit(pixels), model.config.preprocess)
    outputs = plain_cascade(model.config, model.state_dict(), images)
    return torch.stack([output.logits for output in outputs])


def executor_logits(
    executor: StageExecutor, pixels: Tensor, state_format: StateFormat | None, batch_size: int
) -> Iterator[Tensor]:
    """Logits [B, classes] of every exit."""
    uploaded = executor.upload(pixels.numpy())()
    state: StageState | None = None
    for stage in range(executor.spec.num_stages):
        output = executor.run(stage, uploaded, state, batch_size)
        yield output.logits.float().cpu()
        state = output.state
        if state is not None and state_format is None:
            state = StageState.join([state])  # a copy: the next run may overwrite it
        elif state is not None and state_format is not None:
            encoded = encode_state(state, state_format)
            state = decode_state(encoded, executor.device, executor.dtype)


def compare(plain_EnC: Tensor, logits_EnC: Tensor) -> dict[str, Any]:
    plain, other = plain_EnC.softmax(-1).max(-1), logits_EnC.softmax(-1).max(-1)
    moved = (plain.values - other.values).abs().numpy()
    relative = (plain_EnC - logits_EnC).abs().amax((1, 2)) / plain_EnC.abs().amax((1, 2))
    return {
        "labels_agree": (plain.indices == other.indices).float().mean(1).tolist(),
        "confidence_moves_p99": np.quantile(moved, 0.99, axis=1).tolist(),
        "confidence_moves_max": moved.max(axis=1).tolist(),
        "logits_relative_max": relative.tolist(),
    }


if __name__ == "__main__":
    main()
