"""How a job is laid out on the machine: which actors, how many threads, which device."""

import math
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import dvt
from dvt.device import best_device, inference_dtype
from dvt.inference import StateFormat, state_bytes
from pipeline.cascade.batches import CascadeSettings
from pipeline.decoding import DecodeMode, DecodeSettings
from pipeline.errors import UsageError
from pipeline.output.metadata import Hardware
from pipeline.pools import PoolSettings
from pipeline.scheduling import Limits, Pool
from pipeline.settings import TagSettings

__all__ = ["Plan", "PoolPlan", "available_cpus", "decode_settings", "hardware", "plan_job"]

_INFO_BYTES = 1024


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """How the actors of a pool are started.

    Attributes:
        name: for a person.
        cascade: what they run, and how.
        cpus: that Ray keeps for each.
        gpus: that Ray keeps for each.
        labels: that their nodes must have.
        fewest: actors from the start.
        most: actors at any time.
    """

    name: str
    cascade: CascadeSettings
    cpus: float
    gpus: float
    labels: dict[str, str]
    fewest: int
    most: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the actors and the coordinator need, decided before Ray starts."""

    decode: DecodeSettings
    pools: tuple[PoolPlan, ...]
    limits: Limits
    num_decoders: int
    dedupe: bool = False

    @property
    def num_cpus(self) -> int:
        """That a cluster of this machine alone must seem to have, for all actors to find room."""
        return self.num_decoders + math.ceil(sum(pool.most * pool.cpus for pool in self.pools))


def plan_job(
    settings: TagSettings, config: dvt.CascadeConfig, thresholds: tuple[float, ...], dtype: str
) -> Plan:
    """Divides the machine: decoders of one thread each, and the pools' threads, fill the cores.

    Raises:
        UsageError: the pools do not fit the model, or there is no GPU where one is asked for.
    """
    pools = settings.pools or (PoolSettings(stages=(1, config.num_stages)),)
    num_stages = pools[-1].stages[1]
    if num_stages != config.num_stages:
        raise UsageError(
            f"pools: must cover stages 1 to {config.num_stages} of {config.name} "
            f"(got {' | '.join(map(str, pools))})"
        )
    num_cpus = available_cpus()
    # Actors from the start, which share what the decoders leave.
    share = max(1, num_cpus // 2 // sum(pool.actors[0] for pool in pools))
    devices = [_device(pool) for pool in pools]
    dtypes = [_dtype(device, dtype) for device in devices]
    # As precise as the most precise pool, so that nothing is lost on the way.
    state_format = settings.state_format or ("float32" if "float32" in dtypes else "bfloat16")
    plans = tuple(
        _pool_plan(
            pool,
            CascadeSettings(
                model=str(path.resolve()) if (path := Path(settings.model)).exists() else str(path),
                thresholds=thresholds,
                batch_size=pool.batch_size or settings.batch_size,
                top_k=settings.top_k,
                num_threads=pool.threads or (1 if device == "cuda" else share),
                device=device,
                dtype=own_dtype,
                stages=pool.stages,
                state_format=state_format,
                shares_answers=settings.dedupe,
                audit=settings.audit,
            ),
        )
        for pool, device, own_dtype in zip(pools, devices, dtypes, strict=True)
    )
    # Actors on a GPU leave the processor to the decoders, except for a core that feeds the GPU.
    taken = sum(plan.fewest * plan.cascade.num_threads for plan in plans)
    return Plan(
        decode=replace(
            decode_settings(config, settings.decode),
            max_pixels=settings.max_pixels,
            max_bytes=settings.max_bytes,
            time_limit_s=settings.decode_seconds,
        ),
        pools=plans,
        limits=Limits(
            block_length=pools[0].batch_size or settings.batch_size,
            budget_bytes=settings.memory_budget_bytes,
            pools=tuple(
                Pool(*pool.stages, _bytes_per_image(config, pool.stages[0], state_format))
                for pool in pools
            ),
        ),
        num_decoders=settings.num_decoders or max(1, num_cpus - taken),
        dedupe=settings.dedupe,
    )


def _pool_plan(pool: PoolSettings, cascade: CascadeSettings) -> PoolPlan:
    needs_gpu = cascade.device == "cuda"
    return PoolPlan(
        name=f"pool {pool}",
        cascade=cascade,
        cpus=cascade.num_threads if pool.cpus is None else pool.cpus,
        gpus=float(needs_gpu) if pool.gpus is None else pool.gpus,
        labels=pool.labels,
        fewest=pool.actors[0],
        most=pool.actors[1],
    )


def _device(pool: PoolSettings) -> str:
    """Where a pool computes.

    Raises:
        UsageError: it asks for a GPU, and neither this machine nor a cluster can have one.
    """
    wants_gpu = pool.device == "cuda" or bool(pool.gpus)
    if wants_gpu and best_device().type != "cuda" and not os.environ.get("RAY_ADDRESS"):
        raise UsageError(f"pools: pool {pool} asks for a GPU, but this machine has none")
    if pool.device != "auto":
        return pool.device
    if pool.gpus is not None:
        return "cuda" if pool.gpus else "cpu"
    return best_device().type


def _dtype(device: str, dtype: str) -> str:
    """Precision on a device that may be another than this machine's best, which has `dtype`."""
    best = best_device().type
    if device == best:
        return dtype
    # GPUs of other machines cannot be asked from here; those in use have bfloat16.
    return "bfloat16" if device == "cuda" else _name(inference_dtype(torch.device("cpu")))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _bytes_per_image(config: dvt.CascadeConfig, first_stage: int, state_format: StateFormat) -> int:
    """What an image brings along to a pool: pixels, and behind the first the state."""
    pixels = config.image_size**2 * 3
    if first_stage == 1:
        return pixels
    # Key, URI and the like, and the confidences so far.
    return pixels + state_bytes(config, first_stage - 2, state_format) + _INFO_BYTES


def decode_settings(config: dvt.CascadeConfig, mode: DecodeMode = "exact") -> DecodeSettings:
    """How pictures are decoded for this model."""
    return DecodeSettings(
        resize=config.preprocess.resize,
        crop=config.image_size,
        interpolation=config.preprocess.interpolation,
        mode=mode,
    )


def available_cpus() -> int:
    """Processors that this process may use: its affinity, and a container's quota (cgroup v2)."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def hardware() -> Hardware:
    """What the job runs on, for the record."""
    gpus = (torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Hardware(cpu=_processor(), num_cpus=available_cpus(), gpus=tuple(gpus))


def _processor() -> str:
    """The processor's name; Linux tells it only here."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
