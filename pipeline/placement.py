"""How a job is laid out on the machine: which actors, how many threads, which device."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

import dvt
from dvt.device import best_device
from pipeline.cascade_runner import CascadeSettings
from pipeline.decoding import DecodeMode, DecodeSettings
from pipeline.output import Hardware
from pipeline.scheduling import Limits, Pool
from pipeline.settings import TagSettings

__all__ = ["Plan", "available_cpus", "decode_settings", "hardware", "plan_job"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the actors and the coordinator need, decided before Ray starts."""

    decode: DecodeSettings
    cascade: CascadeSettings
    limits: Limits
    num_cpus: int
    num_decoders: int
    num_gpus: int


def plan_job(
    settings: TagSettings, config: dvt.CascadeConfig, thresholds: tuple[float, ...], dtype: str
) -> Plan:
    """Divides the machine: decoders of one thread each, and the cascade's threads, fill the cores.

    Ray is told of as many processors as are handed out; with fewer it would wait for ever.
    """
    device = best_device().type
    num_cpus = available_cpus()
    num_threads = 1 if device == "cuda" else max(1, num_cpus // 2)
    num_decoders = settings.num_decoders or max(1, num_cpus - num_threads)
    path = Path(settings.model)
    return Plan(
        decode=decode_settings(config, settings.decode),
        cascade=CascadeSettings(
            model=str(path.resolve()) if path.exists() else settings.model,
            thresholds=thresholds,
            batch_size=settings.batch_size,
            top_k=settings.top_k,
            num_threads=num_threads,
            device=device,
            dtype=dtype,
        ),
        limits=Limits(
            parcel_length=settings.batch_size,
            budget_bytes=settings.memory_budget_bytes,
            pools=(Pool(1, config.num_stages, bytes_per_image=config.image_size**2 * 3),),
        ),
        num_cpus=num_decoders + num_threads,
        num_decoders=num_decoders,
        num_gpus=1 if device == "cuda" else 0,
    )


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
