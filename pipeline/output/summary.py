"""Computes `summary.json` from counts and tables."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipeline.audit.summary import AuditCounts, AuditSummary, summarise_audit
from pipeline.output.counts import Counts
from pipeline.output.delta_table import OutputTable
from pipeline.output.metadata import RunFile, Summary

__all__ = ["audit_of", "summarise"]


def summarise(counts: Counts, run: RunFile, seconds: float, **others: Any) -> Summary:
    """The summary of one run, or of all.

    Args:
        counts: of the images it is about.
        run: the last run.
        seconds: wall time.
        others: the remaining fields of `Summary`.
    """
    gmacs = run.model.gmacs_per_exit
    spent = counts.gmacs(np.array(gmacs))
    num_images = counts.num_tagged + counts.num_dead_letters
    return Summary(
        tagged=counts.num_tagged,
        dead_letters=counts.num_dead_letters,
        other_files=counts.num_other_files,
        exits=tuple(counts.exits.tolist()),
        gmacs_per_image=spent / counts.num_tagged if counts.num_tagged else None,
        gmacs_full_depth=gmacs[-1],
        seconds=round(seconds, 3),
        images_per_second=round(num_images / seconds, 3) if seconds > 0 else None,
        out=run.settings.out,
        **others,
    )


def audit_of(tags: OutputTable, done: Counts, run: RunFile) -> AuditSummary:
    """The audit over all runs; reads rows of audited images only."""
    gmacs = run.model.gmacs_per_exit
    counts = AuditCounts(len(gmacs))
    columns = ["exit_stage", "audit_agrees"]
    for batch in tags.batches(columns, pc.field("audit_agrees").is_valid()):
        counts.add(*(batch[name].to_numpy(zero_copy_only=False) for name in columns))
    return summarise_audit(counts, done.exits - done.copies, gmacs)
