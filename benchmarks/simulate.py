"""Simulates a scenario of your choice: the scheduler on a cluster that does not exist.

    python -m benchmarks.simulate --images 1000000 --pools "1 | 2-3" --actors 27,37 --drift 0.5
    python -m benchmarks.simulate --config scenario.yaml --json

`--help` lists the options. What is simulated and checked: docs/simulation.md.
"""

from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from jobs.options import Job, JobResult, job_command
from pipeline.simulation import Scenario, SimulationResult, simulate


class SimulateJob(Scenario, Job):  # noqa: D101 - it is the scenario's
    __doc__ = Scenario.__doc__


def run_simulate(job: SimulateJob) -> JobResult:
    result = simulate(job)
    return JobResult(
        lines=(*_table(result), *_lines(result)),
        data={"scenario": job.model_dump(), **asdict(result)},
    )


def _table(result: SimulationResult) -> list[str]:
    table = Table(box=None, pad_edge=False)
    for column in ("pool", "utilisation", "batches filled", "peak queue"):
        table.add_column(column, justify="right")
    for pool in result.pools:
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


def _lines(result: SimulationResult) -> list[str]:
    faults = ", ".join(f"{count} {name}" for name, count in result.faults.items()) or "none"
    return [
        f"{result.images:,} images in {result.virtual_s:,.1f} s of virtual time: "
        f"{result.images_per_virtual_s:,.0f} images/s; each completed once",
        f"faults: {faults.replace('_', ' ')}",
        f"redone: {result.decoded_again:,} decodes, {result.run_again:,} runs, "
        f"{result.answers_lost:,} answers lost before their commit; "
        f"given up: {result.given_up:,} images that kill actors",
        f"{result.steps:,} steps in {result.wall_s:,.1f} s; the scheduler took "
        f"{result.scheduling_s:,.1f} s of one core: {result.images_per_scheduling_s:,.0f} images/s",
    ]


command = job_command("simulate", SimulateJob, run_simulate)

if __name__ == "__main__":
    command()
