"""Reads an output into `ReportData`: all that the page shows, without layout.

Each table is read once, as a stream of batches of the needed columns. What stays in memory are
counts by exit, label, bin, reason and kind, a few rows for the galleries, and 16 bytes a shard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import pyarrow as pa
from pyarrow.dataset import ParquetFragmentScanOptions

from jobs.report.sections.audit import AuditTotals
from jobs.report.sections.compute import Compute, compute_spent
from jobs.report.sections.confidence import ConfidenceHistogram, ConfidenceTotals
from jobs.report.sections.dead_letters import DeadLetterReason, DeadLetterTotals
from jobs.report.sections.exits import ExitCount, ExitTotals
from jobs.report.sections.images import ImageTotals, ShownImage
from jobs.report.sections.labels import LabelCount, LabelTotals
from jobs.report.sections.other_files import OtherFileKind, OtherFileTotals
from jobs.report.sections.thresholds import ThresholdMoves, threshold_moves
from jobs.report.sections.throughput import ShardTotals, ThroughputPoint
from pipeline.audit.summary import AuditSummary
from pipeline.deadline.log import read_threshold_log
from pipeline.errors import UsageError
from pipeline.output.delta_log import open_delta
from pipeline.output.metadata import (
    RunFile,
    Summary,
    read_run_file,
    read_summary,
    thresholds_text,
)
from pipeline.storage import OutputStore, open_output_store, output_failures

__all__ = ["ReportData", "build_report"]

_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class ReportData:
    """All that the page shows; cost in GMACs, shares and confidences in [0, 1].

    Attributes:
        finished: the output is complete, and its summary fits the tables.
        notice: why the numbers may be partial; empty if they are not.
        num_images: tagged or failed; all pictures of the archive if `finished`.
        num_tagged: with a tag.
        num_dead_letters: failed permanently.
        num_other_files: no pictures, and not among the images.
        seconds: wall time over all runs; None without finished shards.
        images_per_second: end to end, over all runs; None if unknown.
        exits: one record an exit.
        confidence: one histogram an exit.
        num_labels: distinct labels; `labels` has the most frequent ones.
        groups: the most frequent groups of labels; empty for a model without groups.
        throughput: of the last run; empty if it has too few finished shards.
        thresholds: empty without runs that had a deadline.
        audit: None if the archive is not audited.
    """

    run: RunFile
    finished: bool
    notice: str
    num_images: int
    num_tagged: int
    num_dead_letters: int
    num_other_files: int
    seconds: float | None
    images_per_second: float | None
    exits: tuple[ExitCount, ...]
    compute: Compute
    confidence: tuple[ConfidenceHistogram, ...]
    num_labels: int
    labels: tuple[LabelCount, ...]
    groups: tuple[LabelCount, ...]
    dead_letters: tuple[DeadLetterReason, ...]
    other_files: tuple[OtherFileKind, ...]
    easiest: tuple[ShownImage, ...]
    hardest: tuple[ShownImage, ...]
    throughput: tuple[ThroughputPoint, ...]
    thresholds: ThresholdMoves
    audit: AuditSummary | None


class _Totals(Protocol):
    """What a section keeps of a table while it is read."""

    COLUMNS: ClassVar[tuple[str, ...]]

    def add(self, rows: pa.Table) -> None: ...


def build_report(location: str | Path) -> ReportData:
    """Reads an output of `dvt tag`, finished or not.

    Args:
        location: a folder, or `s3://bucket/prefix`.

    Raises:
        UsageError: it is no output of dvt, or its files contradict each other.
        OutputFailedError: the storage cannot be read.
    """
    out = open_output_store(location)
    run = read_run_file(out)
    gmacs = run.model.gmacs_per_exit
    exits = ExitTotals(gmacs)
    confidence = ConfidenceTotals(run.thresholds)
    labels = LabelTotals(len(gmacs))
    images = ImageTotals()
    audit = None if run.settings.audit is None else AuditTotals(len(gmacs))
    tag_totals: list[_Totals] = [exits, confidence, labels, images]
    _read(out.child("tags"), tag_totals if audit is None else [*tag_totals, audit])
    dead_letters = DeadLetterTotals()
    _read(out.child("dead_letters"), [dead_letters])
    other_files = OtherFileTotals()
    _read(out.child("other_files"), [other_files])
    shards = ShardTotals()
    _read(out.child("shards"), [shards])

    counts = exits.counts()
    num_tagged = sum(count.num_images for count in counts)
    num_images = num_tagged + dead_letters.num_images
    num_files = num_images + other_files.num_files
    summary = read_summary(out)
    finished = summary is not None and summary.images <= num_files
    seconds, images_per_second = shards.seconds, None
    if summary is not None and finished:
        seconds, images_per_second = summary.seconds, summary.images_per_second
    elif seconds:
        images_per_second = shards.num_images / seconds
    return ReportData(
        run=run,
        finished=finished,
        notice=_notice(run, summary, num_files),
        num_images=num_images,
        num_tagged=num_tagged,
        num_dead_letters=dead_letters.num_images,
        num_other_files=other_files.num_files,
        seconds=seconds,
        images_per_second=images_per_second,
        exits=counts,
        compute=compute_spent(counts),
        confidence=confidence.histograms(),
        num_labels=labels.num_labels,
        labels=labels.most_frequent(),
        groups=labels.most_frequent_groups(),
        dead_letters=dead_letters.reasons(),
        other_files=other_files.kinds(),
        easiest=images.easiest(),
        hardest=images.hardest(),
        throughput=shards.throughput(run.run),
        thresholds=threshold_moves(read_threshold_log(out)),
        audit=None if audit is None else audit.summary(exits.num_computed, gmacs),
    )


def _notice(run: RunFile, summary: Summary | None, num_files: int) -> str:
    sentences = []
    if summary is None:
        sentences.append("Unfinished run: the numbers cover what is committed so far.")
    elif summary.images > num_files:
        sentences.append(
            f"Unfinished run: the summary counts {summary.images:,} files, the tables hold "
            f"{num_files:,}. The numbers are those of the tables."
        )
    elif summary.images < num_files:
        gone = num_files - summary.images
        sentences.append(f"{gone:,} rows are of files that are no longer in the archive.")
    if run.satisfied_thresholds is not None:
        looser = thresholds_text(run.satisfied_thresholds)
        sentences.append(f"Some tags were made with the previous, looser thresholds: {looser}.")
    return " ".join(sentences)


def _read(table: OutputStore, totals: Sequence[_Totals]) -> None:
    """Adds all rows of a table to the totals of the sections that show it."""
    columns = sorted({column for section in totals for column in section.COLUMNS})
    for rows in _batches(table, columns):
        for section in totals:
            section.add(rows)


def _batches(table: OutputStore, columns: list[str]) -> Iterator[pa.Table]:
    delta = open_delta(table)
    if delta is None:
        return
    dataset = delta.to_pyarrow_dataset()
    missing = [column for column in columns if column not in dataset.schema.names]
    if missing:
        raise UsageError(f"out: {table.uri} has no column {missing[0]}, so dvt did not write it")
    scanner = dataset.scanner(
        columns=columns,
        batch_size=_BATCH_ROWS,
        batch_readahead=2,
        fragment_readahead=1,
        # The default holds whole row groups of several files in memory.
        fragment_scan_options=ParquetFragmentScanOptions(
            use_buffered_stream=True, pre_buffer=False
        ),
    )
    with output_failures(table.uri):
        for batch in scanner.to_batches():
            if batch.num_rows:
                yield pa.Table.from_batches([batch])
