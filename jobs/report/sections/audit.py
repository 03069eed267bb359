"""Audit: early answers against full depth, from the images that ran both."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.audit.summary import AuditCounts, AuditSummary, summarise_audit

__all__ = ["AuditTotals"]


class AuditTotals:
    """Running totals over the audited images of `tags`. E exits.

    Args:
        num_exits: of the model.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("exit_stage", "audit_agrees")

    def __init__(self, num_exits: int) -> None:
        self._counts = AuditCounts(num_exits)

    def add(self, rows: pa.Table) -> None:
        """Adds one batch."""
        audited = rows.filter(pc.is_valid(rows["audit_agrees"]))
        self._counts.add(*(audited[name].to_numpy() for name in self.COLUMNS))

    def summary(
        self, num_computed: NDArray[np.int64], gmacs_per_exit: Sequence[float]
    ) -> AuditSummary:
        """Agreement and savings with their intervals.

        Args:
            num_computed: images of the archive computed up to each exit, [E].
            gmacs_per_exit: cumulative cost of each exit.
        """
        return summarise_audit(self._counts, num_computed, gmacs_per_exit)
