"""`dvt tag`: tags an archive, or goes on where an earlier run on the same output stopped."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dvt.inference import StateFormat
from dvt.loading.checkpoint import DEFAULT_MODEL
from jobs.calibration.thresholds import chosen_schedule, chosen_thresholds
from jobs.commands.audit_text import audit_line
from jobs.commands.deadline_text import deadline_lines
from jobs.options import Job, JobResult, job_command
from jobs.progress import shown_progress
from pipeline.deadline.policy import DeadlineSettings
from pipeline.decoding.settings import MAX_BYTES, PILLOW_MAX_PIXELS, TIME_LIMIT_S
from pipeline.job import tag_archive
from pipeline.output.metadata import Summary
from pipeline.pools import PoolSettings, parse_pools
from pipeline.settings import TagSettings
from pipeline.sources import SourceOptions
from pipeline.sources.opening import InputFormat
from pipeline.storage import S3Options
from pipeline.units import (
    Bytes,
    CountOrShare,
    Gmacs,
    Pixels,
    Portion,
    Seconds,
    Share,
    cost_text,
)

_TOLERATED = 1.1

__all__ = ["TagJob", "command", "run_tag", "summary_lines"]


class TagJob(Job):
    """Tags every image of an archive; continues where an earlier run on OUT stopped.

    With stricter thresholds it does again the images that had left too early for them, no others.

    INPUT is a folder, a file, a glob, an s3://bucket/prefix, WebDataset tars (also as a range,
    {000..150}.tar), Parquet files, or a list of URIs (.txt, or .csv with a column uri); there may
    be several. OUT, a folder or s3://bucket/prefix, gets Delta tables of tags, dead letters and
    finished shards, and _SUCCESS when all is done.
    """

    input: Annotated[tuple[str, ...], Field(min_length=1, description="what to tag")]
    out: Annotated[str, Field(description="output: a folder or s3://bucket/prefix")]
    model: Annotated[
        str, Field(description="shipped name, checkpoint folder or published file")
    ] = DEFAULT_MODEL
    thresholds: Annotated[
        Path | None,
        Field(description="JSON file of dvt calibrate, or with a list of numbers"),
    ] = None
    budget: Annotated[
        Gmacs, Field(description="mean MACs of an image, such as 1.2G; sets the thresholds")
    ] = None
    max_drop: Annotated[
        Share, Field(description="largest loss against full depth, such as 1%, with a proof")
    ] = None
    deadline: Annotated[
        Seconds,
        Field(
            description="end within this time, such as 2h or 45m: thresholds move during the run, "
            "within --max-drop or --floor"
        ),
    ] = None
    floor: Annotated[
        Share, Field(description="with --deadline: least accuracy to be expected, such as 95%")
    ] = None
    full_depth: Annotated[bool, Field(description="every image through all stages")] = False
    top_k: Annotated[int, Field(ge=1, le=1000, description="labels named per image")] = 5
    batch_size: Annotated[int, Field(ge=1, le=4096, description="images per forward pass")] = 64
    max_errors: Annotated[
        CountOrShare, Field(description="stop after so many dead letters: N or P%")
    ] = None
    input_format: Annotated[
        InputFormat, Field(description="auto, files, webdataset or parquet")
    ] = "auto"
    include: Annotated[
        tuple[str, ...], Field(description="only keys that fit this pattern; may be repeated")
    ] = ()
    exclude: Annotated[
        tuple[str, ...], Field(description="no keys that fit this pattern; may be repeated")
    ] = ()
    keep_columns: Annotated[
        tuple[str, ...], Field(description="columns of Parquet files to pass through: A,B")
    ] = ()
    requester_pays: Annotated[
        bool, Field(description="agree to pay for S3 requests and traffic")
    ] = False
    dedupe: Annotated[
        bool, Field(description="compute images with identical bytes once, see docs/sources.md")
    ] = False
    audit: Annotated[
        Portion, Field(description="share also sent to full depth, to compare, such as 1%")
    ] = None
    max_pixels: Annotated[
        Pixels, Field(description="pictures with more are dead letters, such as 200M")
    ] = PILLOW_MAX_PIXELS
    max_bytes: Annotated[
        Bytes, Field(description="longer files are dead letters, such as 256MiB")
    ] = MAX_BYTES
    decode_seconds: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="time to decode one picture in"),
    ] = TIME_LIMIT_S
    overwrite: Annotated[bool, Field(description="remove earlier results in OUT first")] = False
    decoders: Annotated[
        int | None, Field(ge=1, description="decode processes; chosen from the cores if not given")
    ] = None
    decode: Annotated[
        Literal["exact", "fast"],
        Field(description="exact: within a grey level of the plain way; fast: cruder, see docs"),
    ] = "exact"

    pools: Annotated[
        tuple[PoolSettings, ...] | None,
        Field(
            description="stages of each kind of actor, as in '1 | 2-3', and behind each what it "
            "needs: actors=1-4 cpus= gpus= threads= device= batch_size= label:NAME= "
            "(one kind with all stages if not given)"
        ),
    ] = None
    state: Annotated[
        StateFormat | None,
        Field(description="what hard images carry between pools: float32, bfloat16 or int8"),
    ] = None
    memory_gb: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="pixels and states in flight, GB")
    ] = 1.0
    stalled_s: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="an actor silent for so long starts anew"),
    ] = 300.0

    @field_validator("pools", mode="before")
    @classmethod
    def _pools(cls, value: object) -> object:
        return None if value is None else parse_pools(value)

    @field_validator("input", "include", "exclude", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("keep_columns", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
            return values
        return tuple(name.strip() for text in values for name in text.split(",") if name.strip())

    @model_validator(mode="after")
    def _one_way_to_exit(self) -> Self:
        ways = {
            "thresholds": self.thresholds is not None,
            "budget": self.budget is not None,
            "max_drop": self.max_drop is not None,
            "full_depth": self.full_depth,
        }
        given = [name for name, is_given in ways.items() if is_given]
        if len(given) > 1:
            raise ValueError(f"{given[0]}: cannot be given together with {given[1]}")
        return self

    @model_validator(mode="after")
    def _deadline_has_one_limit(self) -> Self:
        if self.deadline is None:
            if self.floor is not None:
                raise ValueError("floor: goes with deadline only; see also max_drop")
            return self
        for name in ("thresholds", "budget", "full_depth"):
            if getattr(self, name):
                raise ValueError(
                    f"deadline: moves the thresholds, so it cannot be given together with {name}"
                )
        if (self.max_drop is None) == (self.floor is None):
            raise ValueError(
                "deadline: needs max_drop or floor, one of them, for how far thresholds may move"
            )
        return self

    @model_validator(mode="after")
    def _decoding_is_not_taken_for_a_stall(self) -> Self:
        if self.decode_seconds > self.stalled_s:
            raise ValueError(
                f"decode_seconds: must be at most stalled_s, {self.stalled_s:g} "
                f"(got {self.decode_seconds:g})"
            )
        return self


def run_tag(job: TagJob) -> JobResult:
    """Runs the job; see `pipeline.job.tag_archive` for what it raises."""
    deadline: DeadlineSettings | None = None
    thresholds: tuple[float, ...] | None = None
    known: tuple[str, ...] = ()
    if job.deadline is not None:
        schedule, known = chosen_schedule(job.model, job.max_drop, job.floor)
        thresholds = schedule.loosest
        deadline = DeadlineSettings(job.deadline, schedule.threshold_sets)
    elif not job.full_depth:
        thresholds, known = chosen_thresholds(job.model, job.thresholds, job.budget, job.max_drop)
    settings = TagSettings(
        inputs=job.input,
        out=job.out,
        model=job.model,
        thresholds=thresholds,
        full_depth=job.full_depth,
        batch_size=job.batch_size,
        top_k=job.top_k,
        max_dead_letters=job.max_errors,
        overwrite=job.overwrite,
        num_decoders=job.decoders,
        memory_budget_bytes=int(job.memory_gb * 1e9),
        pools=job.pools,
        state_format=job.state,
        stalled_s=job.stalled_s,
        reading=SourceOptions(
            job.input_format,
            job.include,
            job.exclude,
            job.keep_columns,
            S3Options(job.requester_pays),
        ),
        decode=job.decode,
        dedupe=job.dedupe,
        audit=job.audit,
        max_pixels=job.max_pixels,
        max_bytes=job.max_bytes,
        decode_seconds=job.decode_seconds,
        deadline=deadline,
    )
    with shown_progress() as listener:
        summary = tag_archive(settings, listener)
    lines = (*known, *summary_lines(summary), *deadline_lines(summary), *_over_budget(job, summary))
    return JobResult(lines=lines, data=summary.model_dump(mode="json"))


def _over_budget(job: TagJob, summary: Summary) -> tuple[str, ...]:
    """What to say where these pictures were harder than those that set the thresholds."""
    spent = summary.gmacs_per_image
    if job.budget is None or spent is None or spent <= _TOLERATED * job.budget:
        return ()
    return (
        f"asked for {cost_text(job.budget)} an image, spent {cost_text(spent)}: these pictures are "
        "harder than the held-out ones that the thresholds are from; to keep to a budget, run "
        "dvt calibrate --data on a sample of them",
    )


def summary_lines(summary: Summary) -> tuple[str, ...]:
    """The summary for a person."""
    lines = [
        f"{summary.images:,} images: {summary.tagged:,} tagged, {summary.dead_letters:,} dead "
        f"letters, {summary.skipped:,} done before"
    ]
    if summary.retagged:
        lines.append(
            f"{summary.retagged:,} of {summary.tagged_before:,} rows had stopped too early for "
            "the new thresholds; they are done again"
        )
    if summary.gmacs_per_image is not None:
        saved = 1 - summary.gmacs_per_image / summary.gmacs_full_depth
        if len(summary.exits) > 1:  # a static model has one
            exits = " / ".join(f"{count:,}" for count in summary.exits)
            lines.append(f"left at exits 1 to {len(summary.exits)}: {exits}")
        lines += [
            f"{summary.gmacs_per_image:.4g} GMACs per image of {summary.gmacs_full_depth:.4g} at "
            f"full depth: {100 * saved:.0f} % of the MACs saved",
            f"{summary.seconds:.1f} s, {summary.images_per_second or 0:,.0f} images/s",
        ]
    if summary.audit is not None:
        lines.append(audit_line(summary.audit))
    lines.append(f"results in {summary.out} (for a page: dvt report {summary.out})")
    return tuple(lines)


command = job_command("tag", TagJob, run_tag, arguments=("input",))
