"""`dvt simulate`: the scheduler on a cluster that does not exist, in virtual time."""

from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from jobs.options import Job, JobResult, job_command
from pipeline.simulation import Figures, Scenario, simulate

__all__ = ["SimulateJob", "command", "run_simulate"]


class SimulateJob(Scenario, Job):
    """Runs the scheduler in virtual time on pools and faults of your choice.

    The scheduler is the one that `dvt tag` uses. What must hold is checked at every step: each
    image ends exactly once, bytes stay within their budgets, nothing stands still while work waits.
    Faults are given per hour of virtual time, for the whole cluster.
    """


def run_simulate(job: SimulateJob) -> JobResult:
    """Simulates.

    Raises:
        BrokenInvariantError: the scheduler did what it never may.
    """
    figures = simulate(job)
    return JobResult(
        lines=(*_table(figures), *_lines(figures)),
        data={"scenario": job.model_dump(), **asdict(figures)},
    )


def _table(figures: Figures) -> list[str]:
    table = Table(box=None, pad_edge=False)
    for column in ("pool", "utilisation", "batches filled", "peak queue"):
        table.add_column(column, justify="right")
    for pool in figures.pools:
        table.add_row(
            pool.pool,
            f"{100 * pool.utilisation:.1f} %",
            "" if pool.filled is None else f"{100 * pool.filled:.1f} %",
            "" if pool.filled is None else f"{pool.peak_queue_bytes / 1e9:,.2f} GB",
        )
    console = Console(width=100, no_color=True)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def _lines(figures: Figures) -> list[str]:
    faults = ", ".join(f"{count} {name}" for name, count in figures.faults.items()) or "none"
    return [
        f"{figures.images:,} images in {figures.virtual_s:,.1f} s of virtual time: "
        f"{figures.images_per_virtual_s:,.0f} images/s; each ended once",
        f"faults: {faults.replace('_', ' ')}",
        f"redone: {figures.decoded_again:,} decoded again, {figures.run_again:,} run again, "
        f"{figures.answers_lost:,} answers lost before their commit; "
        f"{figures.given_up:,} given up because they kill actors",
        f"{figures.steps:,} steps in {figures.wall_s:,.1f} s, of these "
        f"{figures.scheduling_s:,.1f} s of one core scheduling: "
        f"{figures.images_per_scheduling_s:,.0f} images/s",
    ]


command = job_command("simulate", SimulateJob, run_simulate)
