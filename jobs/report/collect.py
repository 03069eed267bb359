"""Makes `ReportData` from the tables of an output.

Every table is read once, as a stream of column-projected batches: an archive may have 100 million
images. Counts come from the tables; `summary.json` is asked only for what they cannot tell.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
from pyarrow.dataset import ParquetFragmentScanOptions

from jobs.report.data import Picture, ReportData
from jobs.report.ranking import RANKED_COLUMNS
from jobs.report.run_files import read_run, read_summary
from jobs.report.thumbnails import read_thumbnail
from jobs.report.totals import AuditTotals, DeadLetterTotals, ShardTotals, TagTotals
from pipeline.deadline.log import ThresholdChange, read_threshold_log
from pipeline.output.delta_log import open_delta
from pipeline.output.metadata import thresholds_text
from pipeline.storage import OutputStore, open_output_store, output_failures

__all__ = ["build_report"]

_BATCH_ROWS = 65_536
_MOST_MOVES = 24


def build_report(location: str | Path) -> ReportData:
    """Reads an output of `dvt tag`, finished or not.

    Args:
        location: a folder, or `s3://bucket/prefix`.

    Raises:
        ValueError: it is not an output of dvt, or its files contradict each other.
        OutputFailedError: it cannot be read.
    """
    out = open_output_store(location)
    run = read_run(out)
    num_exits = len(run.model.gmacs_per_exit)
    tags, audit = TagTotals(num_exits), None if run.audit is None else AuditTotals(num_exits)
    columns = {*RANKED_COLUMNS, "exit_confidences", "gmacs"}.union(audit.COLUMNS if audit else ())
    for batch in _stream(out.child("tags"), sorted(columns)):
        tags.add(batch)
        if audit is not None:
            audit.add(batch)
    dead_letters = DeadLetterTotals()
    for batch in _stream(out.child("dead_letters"), ["key", "reason", "detail"]):
        dead_letters.add(batch)
    shards = ShardTotals()
    for batch in _stream(out.child("shards"), ["run", "elapsed_s", "num_images"]):
        shards.add(batch)

    used = list(read_threshold_log(out))
    num_settled = tags.num_images + dead_letters.num_images
    summary = read_summary(out)
    finished = summary is not None and summary.images <= num_settled
    if summary is not None and finished:
        seconds: float | None = summary.seconds
        images_per_second = summary.images_per_second
        gone = num_settled - summary.images
        notice = f"{gone:,} rows are of files that are no longer in the archive." if gone else ""
    else:
        seconds = shards.seconds
        images_per_second = shards.num_images / seconds if seconds else None
        notice = (
            "Unfinished run. The numbers cover what was committed when this page was made."
            if summary is None
            else f"Unfinished run. The summary counts {summary.images:,} images, the tables hold "
            f"{num_settled:,}; the numbers are those of the tables."
        )
    if run.satisfied_thresholds is not None:
        looser = thresholds_text(run.satisfied_thresholds)
        notice += f" Some pictures may have left by the looser thresholds of before: {looser}."
    return ReportData(
        run=run,
        finished=finished,
        notice=notice,
        num_images=num_settled,
        num_tagged=tags.num_images,
        num_dead_letters=dead_letters.num_images,
        seconds=seconds,
        images_per_second=images_per_second,
        exits=tags.exit_flows(run),
        num_labels=tags.num_labels,
        labels=tags.top_labels(),
        dead_letters=dead_letters.reasons(),
        easiest=_with_thumbnails(tags.easiest.pictures()),
        hardest=_with_thumbnails(tags.hardest.pictures()),
        throughput=shards.throughput(run.run),
        audit=None if audit is None else audit.summary(run),
        thresholds_used=_some(used),
        num_threshold_moves=sum(a.run == b.run for a, b in pairwise(used)),
    )


def _some(used: list[ThresholdChange]) -> tuple[ThresholdChange, ...]:
    """The first, the last, and evenly many between."""
    number = min(len(used), _MOST_MOVES)
    places = {round(place * (len(used) - 1) / max(1, number - 1)) for place in range(number)}
    return tuple(used[place] for place in sorted(places))


def _stream(table: OutputStore, columns: list[str]) -> Iterator[pa.Table]:
    """Batches of a Delta table as small Arrow tables; nothing if there is no such table."""
    delta = open_delta(table)
    if delta is None:
        return
    dataset = delta.to_pyarrow_dataset()
    missing = [column for column in columns if column not in dataset.schema.names]
    if missing:
        raise ValueError(f"{table.uri}: not an output of dvt (column {missing[0]} is missing)")
    scanner = dataset.scanner(
        columns=columns,
        batch_size=_BATCH_ROWS,
        batch_readahead=2,
        fragment_readahead=1,
        # The default holds whole row groups of several files in memory at once.
        fragment_scan_options=ParquetFragmentScanOptions(
            use_buffered_stream=True, pre_buffer=False
        ),
    )
    with output_failures(table.uri):
        for batch in scanner.to_batches():
            if batch.num_rows:
                yield pa.Table.from_batches([batch])


def _with_thumbnails(pictures: tuple[Picture, ...]) -> tuple[Picture, ...]:
    shown = []
    for picture in pictures:
        thumbnail, missing_because = read_thumbnail(picture.uri)
        shown.append(replace(picture, thumbnail=thumbnail, missing_because=missing_because))
    return tuple(shown)
