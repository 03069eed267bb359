"""Running totals over the three tables: batches in, plain records out.

What stays in memory are counts per exit, label, bin and reason, a few rows per ranking, and 16
bytes a shard. Nothing grows with the number of images but the shards, a thousandth of them.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.report.data import (
    HISTOGRAM_BINS,
    DeadLetterExample,
    DeadLetterReason,
    ExitFlow,
    LabelCount,
    ThroughputPoint,
)
from jobs.report.ranking import PictureRanking
from pipeline.audit.summary import AuditCounts, AuditSummary, summarise_audit
from pipeline.output.metadata import RunFile

__all__ = ["AuditTotals", "DeadLetterTotals", "ShardTotals", "TagTotals"]

_TOP_LABELS = 15
_PICTURES = 12
_EASIEST_PER_LABEL = 2
_EXAMPLES_PER_REASON = 10
_DETAIL_CHARACTERS = 300
_MIN_THROUGHPUT_POINTS = 3
_MAX_THROUGHPUT_POINTS = 300


class TagTotals:
    """Running totals over `tags`.

    Args:
        num_exits: Exits of the model.
    """

    def __init__(self, num_exits: int) -> None:
        self._num_exits = num_exits
        self._num_left = np.zeros(num_exits, dtype=np.int64)
        self._confidence = np.zeros(num_exits)
        self._gmacs = np.zeros(num_exits)
        self._labels: dict[str, npt.NDArray[np.int64]] = {}
        # [exit, 0 went on / 1 left here, bin]
        self._histograms = np.zeros((num_exits, 2, HISTOGRAM_BINS), dtype=np.int64)
        self.easiest = PictureRanking(_PICTURES, max_per_label=_EASIEST_PER_LABEL)
        self.hardest = PictureRanking(_PICTURES)

    @property
    def num_images(self) -> int:
        """Tagged images so far."""
        return int(self._num_left.sum())

    @property
    def num_labels(self) -> int:
        """Distinct labels so far."""
        return len(self._labels)

    def add(self, rows: pa.Table) -> None:
        """Takes in one batch.

        Raises:
            ValueError: An exit that the model of `run.json` does not have.
        """
        exit_stage = rows["exit_stage"].to_numpy().astype(np.int64)
        if exit_stage.min() < 1 or exit_stage.max() > self._num_exits:
            raise ValueError(
                f"tags: exit_stage must be 1 to {self._num_exits}, as run.json has that many "
                f"exits, received {exit_stage.min()} to {exit_stage.max()}"
            )
        self._add_per_exit(rows, exit_stage - 1)
        self._add_labels(rows)
        self._add_histograms(rows["exit_confidences"].combine_chunks(), exit_stage - 1)
        first_exit = rows.filter(pc.equal(rows["exit_stage"], 1))
        self.easiest.add(first_exit, pc.cast(first_exit["confidence"], pa.float64()))
        # Twice the exit, so that the deeper one wins whatever the confidences in [0, 1] are.
        depth = pc.multiply(pc.cast(rows["exit_stage"], pa.float64()), 2.0)
        self.hardest.add(rows, pc.subtract(depth, rows["confidence"]))

    def _add_per_exit(self, rows: pa.Table, exit_index: npt.NDArray[np.int64]) -> None:
        def sum_by_exit(column: str) -> npt.NDArray[np.float64]:
            weights = rows[column].to_numpy()
            sums = np.bincount(exit_index, weights=weights, minlength=self._num_exits)
            return sums.astype(np.float64)

        self._num_left += np.bincount(exit_index, minlength=self._num_exits)
        self._confidence += sum_by_exit("confidence")
        self._gmacs += sum_by_exit("gmacs")

    def _add_labels(self, rows: pa.Table) -> None:
        counts = rows.group_by(["label", "exit_stage"]).aggregate([([], "count_all")])
        for row in counts.to_pylist():
            per_exit = self._labels.setdefault(
                row["label"], np.zeros(self._num_exits, dtype=np.int64)
            )
            per_exit[row["exit_stage"] - 1] += row["count_all"]

    def _add_histograms(self, lists: pa.Array, exit_index: npt.NDArray[np.int64]) -> None:
        num_ran = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
        values = lists.flatten().to_numpy(zero_copy_only=False)
        first = np.repeat(np.cumsum(num_ran) - num_ran, num_ran)
        stage = np.arange(len(values)) - first
        left_here = stage == np.repeat(exit_index, num_ran)
        known = (stage < self._num_exits) & ~np.isnan(values)
        bins = np.clip((values[known] * HISTOGRAM_BINS).astype(np.int64), 0, HISTOGRAM_BINS - 1)
        np.add.at(self._histograms, (stage[known], left_here[known].astype(np.int64), bins), 1)

    def exit_flows(self, run: RunFile) -> tuple[ExitFlow, ...]:
        """One record an exit, with cost and thresholds of `run`."""
        # No probability reaches a threshold above 1; that exit was switched off.
        thresholds = [value if value <= 1 else None for value in run.thresholds] + [None]
        num_reached = self._num_left[::-1].cumsum()[::-1]
        return tuple(
            ExitFlow(
                exit_stage=index + 1,
                num_reached=int(num_reached[index]),
                num_left=int(num_left),
                mean_confidence=float(self._confidence[index] / num_left) if num_left else None,
                gmacs_cumulative=run.model.gmacs_per_exit[index],
                gmacs_spent=float(self._gmacs[index]),
                threshold=thresholds[index],
                histogram_left=tuple(self._histograms[index, 1].tolist()),
                histogram_went_on=tuple(self._histograms[index, 0].tolist()),
            )
            for index, num_left in enumerate(self._num_left)
        )

    def top_labels(self) -> tuple[LabelCount, ...]:
        """The most frequent labels, most frequent first."""
        ranked = sorted(self._labels.items(), key=lambda item: (-item[1].sum(), item[0]))
        return tuple(
            LabelCount(label, tuple(per_exit.tolist())) for label, per_exit in ranked[:_TOP_LABELS]
        )


class AuditTotals:
    """Running totals over the audited images of `tags`, and over all that were computed.

    Args:
        num_exits: Exits of the model.
    """

    COLUMNS = ("exit_stage", "gmacs", "label_id", "audit_label_id")

    def __init__(self, num_exits: int) -> None:
        self._counts = AuditCounts(num_exits)
        self._num_computed = np.zeros(num_exits, dtype=np.int64)

    def add(self, rows: pa.Table) -> None:
        """Takes in one batch with at least `COLUMNS`."""
        computed = rows["exit_stage"].filter(pc.greater(rows["gmacs"], 0)).to_numpy()
        places = computed.astype(np.int64) - 1
        self._num_computed += np.bincount(places, minlength=len(self._num_computed))
        audited = rows.filter(pc.is_valid(rows["audit_label_id"]))
        columns = ("exit_stage", "label_id", "audit_label_id")
        self._counts.add(*(audited[name].to_numpy() for name in columns))

    def summary(self, run: RunFile) -> AuditSummary:
        """What they say, with the costs of `run`."""
        return summarise_audit(self._counts, self._num_computed, run.model.gmacs_per_exit)


class DeadLetterTotals:
    """Running totals over `dead_letters`."""

    def __init__(self) -> None:
        self._num_images: dict[str, int] = {}
        self._examples: dict[str, list[tuple[str, str]]] = {}

    @property
    def num_images(self) -> int:
        """Images that failed for good, so far."""
        return sum(self._num_images.values())

    def add(self, rows: pa.Table) -> None:
        """Takes in one batch."""
        for reason in pc.unique(rows["reason"]).to_pylist():
            matching = rows.filter(pc.equal(rows["reason"], reason))
            self._num_images[reason] = self._num_images.get(reason, 0) + matching.num_rows
            first = matching.take(
                pc.select_k_unstable(
                    matching, k=_EXAMPLES_PER_REASON, sort_keys=[("key", "ascending")]
                )
            )
            examples = self._examples.get(reason, [])
            for row in first.to_pylist():
                examples.append((row["key"], (row["detail"] or "")[:_DETAIL_CHARACTERS]))
            self._examples[reason] = sorted(examples)[:_EXAMPLES_PER_REASON]

    def reasons(self) -> tuple[DeadLetterReason, ...]:
        """All reasons, most frequent first, with their first images by key."""
        ranked = sorted(self._num_images.items(), key=lambda item: (-item[1], item[0]))
        return tuple(
            DeadLetterReason(
                reason, num, tuple(DeadLetterExample(*pair) for pair in self._examples[reason])
            )
            for reason, num in ranked
        )


class ShardTotals:
    """Finished shards by run."""

    def __init__(self) -> None:
        self._elapsed_s: dict[str, list[npt.NDArray[np.float64]]] = {}
        self._num_images: dict[str, list[npt.NDArray[np.int64]]] = {}

    @property
    def num_images(self) -> int:
        """Images in finished shards, over all runs."""
        return sum(int(part.sum()) for parts in self._num_images.values() for part in parts)

    @property
    def seconds(self) -> float | None:
        """Sum over the runs of the moment of their last finished shard."""
        if not self._elapsed_s:
            return None
        return sum(float(max(p.max() for p in parts)) for parts in self._elapsed_s.values())

    def add(self, rows: pa.Table) -> None:
        """Takes in one batch."""
        for run in pc.unique(rows["run"]).to_pylist():
            matching = rows.filter(pc.equal(rows["run"], run))
            self._elapsed_s.setdefault(run, []).append(matching["elapsed_s"].to_numpy())
            self._num_images.setdefault(run, []).append(matching["num_images"].to_numpy())

    def throughput(self, run: str) -> tuple[ThroughputPoint, ...]:
        """Cumulative images of one run; of the last that did anything if this one did nothing."""
        if not self._elapsed_s:
            return ()
        run = run if run in self._elapsed_s else max(self._elapsed_s)
        elapsed_s = np.concatenate(self._elapsed_s[run])
        if len(elapsed_s) < _MIN_THROUGHPUT_POINTS:
            return ()
        in_time = np.argsort(elapsed_s, kind="stable")
        num_images = np.concatenate(self._num_images[run])[in_time].cumsum()
        if not num_images[-1]:
            return ()
        # Evenly thinned; the last point is always shown.
        num_points = min(len(in_time), _MAX_THROUGHPUT_POINTS)
        shown = np.linspace(0, len(in_time) - 1, num_points).round().astype(np.int64)
        return tuple(
            ThroughputPoint(float(elapsed_s[in_time[index]]), int(num_images[index]))
            for index in shown
        )
