"""Times single stages, against what the machine can multiply, and what forwarding costs.

Shapes: B images in a batch, S pixels a side.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from dvt.cost import stage_cost
from dvt.inference.executor import StageExecutor
from dvt.inference.state_codec import EncodedState, StateFormat, decode_state, encode_state
from dvt.reuse import StageState

__all__ = ["StageProfile", "in_turns", "matmul_limit_gmacs_s", "profile_stages", "seconds_of"]

# Large enough to reach the limit, small enough for a second.
_LIMIT_SIDE = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True, slots=True)
class StageProfile:
    """What was measured of one stage at one batch size.

    Attributes:
        stage: from 1.
        batch_size: images in a forward pass.
        images_per_second: through this stage alone.
        gmacs_per_second: MACs that the stage needs (`StageCost.useful`).
        share_of_limit: of the machine's matmul limit, same precision, same run.
        state_bytes: that a hard image carries to the next stage; 0 after the last.
        forward_ms: to encode, copy and decode one image's state on one machine.
        recompute_ms: to run this stage and all before it once more for one image.
    """

    stage: int
    batch_size: int
    images_per_second: float
    gmacs_per_second: float
    share_of_limit: float
    state_bytes: int
    forward_ms: float
    recompute_ms: float


def in_turns(
    works: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each work in each round; every round runs each of them once, in order.

    What else the machine does then falls on all of them alike. One round before the first is not
    counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            taken = seconds_of(work, device)
            if turn:
                seconds[name].append(taken)
    return seconds


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until the work is done, on the device too."""
    _synchronise(device)
    started = time.perf_counter()
    work()
    _synchronise(device)
    return time.perf_counter() - started


def matmul_limit_gmacs_s(device: torch.device, dtype: torch.dtype, rounds: int = 5) -> float:
    """What this machine multiplies at best: the fastest of some products of square matrices."""
    side = _LIMIT_SIDE[device.type]
    matrix = torch.randn(side, side, device=device).to(dtype)
    seconds = in_turns({"product": lambda: matrix @ matrix}, rounds, device)["product"]
    return side**3 / min(seconds) / 1e9


def profile_stages(
    executor: StageExecutor,
    batch_size: int,
    limit_gmacs_s: float,
    state_format: StateFormat,
    rounds: int,
) -> list[StageProfile]:
    """Profiles all stages on random pixels; each figure is a median.

    Args:
        executor: the model on its device, in its precision.
        batch_size: images in a forward pass.
        limit_gmacs_s: what the machine multiplies at best, in this precision.
        state_format: how states would travel.
        rounds: how often everything is timed.
    """
    size, device = executor.config.image_size, executor.device
    shape = (batch_size, size, size, 3)
    pixels = executor.upload(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))()
    profiles: list[StageProfile] = []
    state: StageState | None = None
    recompute_s = 0.0
    for stage in range(executor.config.num_stages):

        def run(stage: int = stage, state: StageState | None = state) -> StageState | None:
            return executor.run(stage, pixels, state, batch_size).state

        seconds = statistics.median(in_turns({"run": run}, rounds, device)["run"])
        recompute_s += seconds
        handed_on = run()
        # Joining copies: the executor may write over its output.
        state = None if handed_on is None else StageState.join([handed_on])
        state_bytes, forward_s = _forwarding(executor, state, state_format, rounds)
        gmacs_per_second = stage_cost(executor.config, stage).useful * batch_size / seconds / 1e9
        profiles.append(
            StageProfile(
                stage=stage + 1,
                batch_size=batch_size,
                images_per_second=batch_size / seconds,
                gmacs_per_second=gmacs_per_second,
                share_of_limit=gmacs_per_second / limit_gmacs_s,
                state_bytes=state_bytes // batch_size,
                forward_ms=1000 * forward_s / batch_size,
                recompute_ms=1000 * recompute_s / batch_size,
            )
        )
    return profiles


def _forwarding(
    executor: StageExecutor, state: StageState | None, state_format: StateFormat, rounds: int
) -> tuple[int, float]:
    """Bytes on the wire of a batch's state, and seconds to bring it into another process.

    Shared memory is written once and read in place, so that one copy stands for it.
    """
    if state is None:
        return 0, 0.0

    def forward() -> EncodedState:
        encoded = encode_state(state, state_format)
        for array in encoded.arrays:
            array.copy()
        decode_state(encoded, executor.device, executor.dtype)
        return encoded

    seconds = in_turns({"forward": forward}, rounds, executor.device)["forward"]
    return forward().num_bytes, statistics.median(seconds)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
