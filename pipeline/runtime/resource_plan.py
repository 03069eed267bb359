"""How a job is laid out on the machine: actors, threads, devices, queue limits."""

import math
import os
from dataclasses import dataclass
from typing import cast

import torch

import dvt
from dvt.device import best_device
from dvt.inference import StateFormat, state_bytes
from pipeline.decoding import DecodeOptions, DecodeSettings
from pipeline.errors import UsageError
from pipeline.pools import PoolSettings
from pipeline.runtime.hardware import available_cpus
from pipeline.scheduling import Limits, Pool
from pipeline.settings import TagSettings

__all__ = ["Plan", "PoolPlan", "decode_settings", "job_dtype", "plan_job"]

_INFO_BYTES = 1024  # key, URI, confidences and the like of an image


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """What the actors of a pool run, and how they are started.

    Attributes:
        name: in logs.
        stages: first and last, from 1.
        batch_size: images per forward pass.
        device: "cpu" or "cuda".
        dtype: "float32" or "bfloat16".
        num_threads: compute threads of each actor.
        state_format: of the features that go to the next pool.
        cpus: Ray CPUs of each actor.
        gpus: Ray GPUs of each actor.
        labels: Ray node labels that the actors require.
        min_actors: started at the beginning.
        max_actors: at any time.
        model_digest: of the run's model and its groups; None accepts any.
    """

    name: str
    stages: tuple[int, int]
    batch_size: int
    device: str
    dtype: str
    num_threads: int
    state_format: StateFormat
    cpus: float
    gpus: float
    labels: dict[str, str]
    min_actors: int
    max_actors: int
    model_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What actors and coordinator need, decided before Ray starts.

    Attributes:
        decode: of the decode actors.
        pools: of the cascade actors, in the order of their stages.
        thresholds: one for each exit, the last taking everything.
        limits: of the scheduler.
        num_decoders: decode actors.
    """

    decode: DecodeSettings
    pools: tuple[PoolPlan, ...]
    thresholds: tuple[float, ...]
    limits: Limits
    num_decoders: int

    @property
    def num_cpus(self) -> int:
        """Ray CPUs that a one-machine cluster must offer for every actor to be scheduled."""
        return self.num_decoders + math.ceil(
            sum(pool.max_actors * pool.cpus for pool in self.pools)
        )


def plan_job(
    settings: TagSettings,
    spec: dvt.ModelSpec,
    thresholds: tuple[float, ...],
    dtype: str,
    model_digest: str | None = None,
) -> Plan:
    """Divides the cores between single-threaded decoders and the pools.

    Args:
        settings: of the job.
        spec: of the model.
        thresholds: one for each exit, the last taking everything.
        dtype: precision of all pools, see `job_dtype`.
        model_digest: that the actors' models must have; None for any.

    Raises:
        UsageError: the pools do not fit the model, or ask for a GPU where there is none.
    """
    pools = settings.pools or (PoolSettings(stages=(1, spec.num_stages)),)
    if pools[-1].stages[1] != spec.num_stages:
        raise UsageError(
            f"pools: must cover stages 1 to {spec.num_stages} of {spec.name} "
            f"(got {' | '.join(map(str, pools))})"
        )
    num_cpus = available_cpus()
    # Half of the cores, shared by the actors that run from the start.
    threads = max(1, num_cpus // 2 // sum(pool.actors[0] for pool in pools))
    for pool in pools:
        _check_device(pool)
    state_format = settings.state or cast(StateFormat, dtype)
    plans = tuple(
        _plan_pool(pool, settings.batch_size, dtype, threads, state_format, model_digest)
        for pool in pools
    )
    # Actors on a GPU take one core each to feed it.
    taken = sum(plan.min_actors * plan.num_threads for plan in plans)
    return Plan(
        decode=decode_settings(spec, settings),
        pools=plans,
        thresholds=thresholds,
        limits=Limits(
            block_length=plans[0].batch_size,
            budget_bytes=int(settings.memory_gb * 1e9),
            pools=tuple(
                Pool(*pool.stages, _bytes_per_image(spec, pool.stages[0], state_format))
                for pool in pools
            ),
        ),
        num_decoders=settings.decoders or max(1, num_cpus - taken),
    )


def _plan_pool(
    pool: PoolSettings,
    batch_size: int,
    dtype: str,
    threads: int,
    state_format: StateFormat,
    model_digest: str | None,
) -> PoolPlan:
    device = _device(pool)
    needs_gpu = device == "cuda"
    num_threads = pool.threads or (1 if needs_gpu else threads)
    return PoolPlan(
        name=f"pool {pool}",
        stages=pool.stages,
        batch_size=pool.batch_size or batch_size,
        device=device,
        dtype=dtype,
        num_threads=num_threads,
        state_format=state_format,
        cpus=num_threads if pool.cpus is None else pool.cpus,
        gpus=float(needs_gpu) if pool.gpus is None else pool.gpus,
        labels=pool.labels,
        min_actors=pool.actors[0],
        max_actors=pool.actors[1],
        model_digest=model_digest,
    )


def _check_device(pool: PoolSettings) -> None:
    """Checks that there may be the device that a pool asks for.

    Raises:
        UsageError: it needs a GPU, this machine has none, and there is no cluster to join.
    """
    wants_gpu = pool.device == "cuda" or bool(pool.gpus)
    if wants_gpu and best_device().type != "cuda" and not os.environ.get("RAY_ADDRESS"):
        raise UsageError(f"pools: pool {pool} asks for a GPU, but this machine has none")


def _device(pool: PoolSettings) -> str:
    """The device that a pool computes on."""
    if pool.device != "auto":
        return pool.device
    if pool.gpus is not None:
        return "cuda" if pool.gpus else "cpu"
    return best_device().type


def job_dtype(settings: TagSettings, model: dvt.Model) -> str:
    """The precision of all pools of a job: "bfloat16" if the model is fastest in it everywhere."""
    devices = [_device(pool) for pool in settings.pools or ()] or [best_device().type]
    is_bfloat16 = all(
        model.inference_dtype(torch.device(name)) == torch.bfloat16 for name in devices
    )
    return "bfloat16" if is_bfloat16 else "float32"


def _bytes_per_image(spec: dvt.ModelSpec, first_stage: int, state_format: StateFormat) -> int:
    """Size of an image on its way to a pool: its pixels, and after stage 1 its features."""
    pixels = spec.image_size**2 * 3
    if first_stage == 1:
        return pixels
    return pixels + state_bytes(spec.stages[first_stage - 2].state, state_format) + _INFO_BYTES


def decode_settings(spec: dvt.ModelSpec, options: DecodeOptions | None = None) -> DecodeSettings:
    """How images are decoded for a model.

    Args:
        spec: of the model.
        options: of the job; None for the defaults.
    """
    chosen = (options or DecodeOptions()).model_dump(include=set(DecodeOptions.model_fields))
    return DecodeSettings(
        resize=spec.preprocess.resize,
        crop=spec.image_size,
        interpolation=spec.preprocess.interpolation,
        **chosen,
    )
