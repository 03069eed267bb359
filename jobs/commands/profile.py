"""`dvt profile`: speed of each stage on this machine, and cost of forwarding its state."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from rich.console import Console
from rich.table import Table

import dvt
from dvt.device import best_device, inference_dtype
from dvt.inference import StateFormat
from dvt.inference.profiling import StageProfile, matmul_limit_gmacs_s, profile_stages
from dvt.loading import DEFAULT_MODEL
from dvt.presets import PRESETS
from jobs.options import Job, JobResult, job_command
from pipeline.runtime.hardware import available_cpus, hardware

__all__ = ["ProfileJob", "command", "run_profile"]


def _listed(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


class ProfileJob(Job):
    """Times the stages of a cascade on this machine, by batch size.

    For each stage: images and GMACs per second, share of the machine's matmul limit, and whether an
    image's state is cheaper to forward than to recompute.
    """

    model: Annotated[
        str,
        Field(description="as for `dvt tag`, or a preset (with random weights)"),
    ] = DEFAULT_MODEL
    batch_sizes: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...],
        BeforeValidator(_listed),
        Field(min_length=1, description="images per forward pass, comma-separated"),
    ] = (1, 16, 64)
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="precision; auto: as `dvt tag` on this machine"),
    ] = "auto"
    state_format: Annotated[
        StateFormat, Field(description="encoding of forwarded states: float32, bfloat16 or int8")
    ] = "bfloat16"
    network_gbit: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="bandwidth between nodes, Gbit/s")
    ] = 10.0
    rounds: Annotated[
        int, Field(ge=1, le=1000, description="timings per figure; the median is reported")
    ] = 5
    threads: Annotated[
        int | None, Field(ge=1, description="CPU threads [default: all available]")
    ] = None


def run_profile(job: ProfileJob) -> JobResult:
    """Profiles all stages at all batch sizes.

    Raises:
        ModelError: the model does not exist or is not usable.
    """
    is_preset = job.model in PRESETS
    model = dvt.create_model(job.model) if is_preset else dvt.load_model(job.model)
    device = best_device()
    dtype = inference_dtype(device) if job.dtype == "auto" else getattr(torch, job.dtype)
    threads = job.threads or available_cpus()
    torch.set_num_threads(threads)
    executor = model.make_executor(device, dtype)
    limit = matmul_limit_gmacs_s(device, dtype)
    profiles = [
        profile
        for batch_size in job.batch_sizes
        for profile in profile_stages(executor, batch_size, limit, job.state_format, job.rounds)
    ]
    precision = str(dtype).removeprefix("torch.")
    machine = hardware()
    name = machine.gpus[0] if device.type == "cuda" else f"{machine.cpu}, {threads} threads"
    data: dict[str, Any] = {
        "model": job.model,
        "weights": "random" if is_preset else "trained",
        "hardware": machine.model_dump(),
        "device": device.type,
        "dtype": precision,
        "threads": threads,
        "matmul_limit_gmacs_s": limit,
        "state_format": job.state_format,
        "network_gbit": job.network_gbit,
        "stages": [
            asdict(profile) | {"network_ms": _network_ms(profile, job.network_gbit)}
            for profile in profiles
        ],
    }
    heading = f"{job.model} in {precision} on {name}; matmul limit {limit:,.0f} GMAC/s"
    return JobResult(lines=(heading, *_table(profiles, job)), data=data)


def _network_ms(profile: StageProfile, network_gbit: float) -> float:
    """Milliseconds to encode one image's state, send it to another node and decode it."""
    return profile.forward_ms + profile.state_bytes * 8 / network_gbit / 1e6


def _table(profiles: list[StageProfile], job: ProfileJob) -> list[str]:
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "batch", "images/s", "GMAC/s", "of limit", "state", "forward"):
        table.add_column(column, justify="right")
    table.add_column(f"over {job.network_gbit:g} Gbit/s", justify="right")
    table.add_column("recompute", justify="right")
    for profile in profiles:
        row = [
            str(profile.stage),
            str(profile.batch_size),
            f"{profile.images_per_second:,.1f}",
            f"{profile.gmacs_per_second:,.1f}",
            f"{100 * profile.share_of_limit:.0f} %",
        ]
        if profile.state_bytes:
            row += [
                f"{profile.state_bytes / 1000:,.1f} kB",
                f"{profile.forward_ms:.3f} ms",
                f"{_network_ms(profile, job.network_gbit):.3f} ms",
                f"{profile.recompute_ms:.3f} ms",
            ]
        table.add_row(*row)
    console = Console(width=120, no_color=True)
    with console.capture() as captured:
        console.print(table)
    notes = (
        "of limit: useful MACs as a share of the matmul limit",
        "forward: encode, copy and decode one image's state; recompute: all stages up to this one",
    )
    return [*(line.rstrip() for line in captured.get().splitlines()), *notes]


command = job_command("profile", ProfileJob, run_profile)
