"""Times single stages, compares them with the machine's matmul limit, and times state transfer."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from dvt.inference.executor import StageExecutor
from dvt.inference.state_codec import EncodedState, StateFormat, decode_state, encode_state
from dvt.reuse import StageState

__all__ = ["StageProfile", "matmul_limit_gmacs_s", "profile_stages", "time_call", "time_in_turns"]

# Large enough to reach the limit, small enough for one second.
_LIMIT_SIDE = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True, slots=True)
class StageProfile:
    """Measurements of one stage at one batch size.

    Attributes:
        stage: from 1.
        batch_size: images per forward pass.
        images_per_second: through this stage alone.
        gmacs_per_second: useful MACs (`StageSpec.useful_macs`) per second.
        share_of_limit: of the machine's matmul limit in the same precision.
        state_bytes: state of one image for the next stage; 0 after the last.
        forward_ms: time to encode, copy and decode one image's state on one machine.
        recompute_ms: time to run this stage and all previous ones again for one image.
    """

    stage: int
    batch_size: int
    images_per_second: float
    gmacs_per_second: float
    share_of_limit: float
    state_bytes: int
    forward_ms: float
    recompute_ms: float


def time_in_turns(
    functions: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each function in each round; a round calls every function once, in order.

    Other load on the machine thus affects all functions alike. A first round warms up and is not
    counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            taken = time_call(function, device)
            if turn:
                seconds[name].append(taken)
    return seconds


def time_call(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, including its work on the device."""
    _synchronise(device)
    started = time.perf_counter()
    function()
    _synchronise(device)
    return time.perf_counter() - started


def matmul_limit_gmacs_s(device: torch.device, dtype: torch.dtype, rounds: int = 5) -> float:
    """The machine's matmul limit: the fastest of some products of large square matrices."""
    side = _LIMIT_SIDE[device.type]
    matrix = torch.randn(side, side, device=device).to(dtype)
    seconds = time_in_turns({"product": lambda: matrix @ matrix}, rounds, device)["product"]
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
        batch_size: images per forward pass.
        limit_gmacs_s: the machine's matmul limit in this precision.
        state_format: encoding of transferred states.
        rounds: timings per figure.
    """
    size, device = executor.spec.image_size, executor.device
    shape = (batch_size, size, size, 3)
    pixels = executor.upload(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))()
    profiles: list[StageProfile] = []
    state: StageState | None = None
    recompute_s = 0.0
    for stage in range(executor.spec.num_stages):

        def run(stage: int = stage, state: StageState | None = state) -> StageState | None:
            return executor.run(stage, pixels, state, batch_size).state

        seconds = statistics.median(time_in_turns({"run": run}, rounds, device)["run"])
        recompute_s += seconds
        emitted = run()
        # Joining copies; the executor may overwrite its output.
        state = None if emitted is None else StageState.join([emitted])
        state_bytes, forward_s = _time_transfer(executor, state, state_format, rounds)
        gmacs_per_second = executor.spec.stages[stage].useful_macs * batch_size / seconds / 1e9
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


def _time_transfer(
    executor: StageExecutor, state: StageState | None, state_format: StateFormat, rounds: int
) -> tuple[int, float]:
    """Bytes of a batch's encoded state, and seconds to move it to another process.

    Shared memory is written once and read in place, so one copy represents it.
    """
    if state is None:
        return 0, 0.0

    def forward() -> EncodedState:
        encoded = encode_state(state, state_format)
        for array in encoded.arrays:
            array.copy()
        decode_state(encoded, executor.device, executor.dtype)
        return encoded

    seconds = time_in_turns({"forward": forward}, rounds, executor.device)["forward"]
    return forward().num_bytes, statistics.median(seconds)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
