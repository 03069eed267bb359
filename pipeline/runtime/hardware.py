"""What this machine has: cores, processor, GPUs."""

import os
import platform
from pathlib import Path

import torch

from pipeline.output.metadata import Hardware

__all__ = ["available_cpus", "hardware"]


def available_cpus() -> int:
    """Cores that this process may use: its affinity, and a container's quota (cgroup v2)."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def hardware() -> Hardware:
    """This machine, as `run.json` records it."""
    gpus = (torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Hardware(cpu=_processor(), num_cpus=available_cpus(), gpus=tuple(gpus))


def _processor() -> str:
    """Name of the processor; `platform` does not report it on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
