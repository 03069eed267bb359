"""What the report knows: plain frozen records, no I/O and no layout.

`collect` fills them from the tables of an output folder, `page` turns them into HTML. Exits count
from 1, shares and confidences are fractions in [0, 1], cost is in GMACs (multiply-adds).
"""

from dataclasses import dataclass, field

from pipeline.audit.summary import AuditSummary
from pipeline.deadline.log import ThresholdChange
from pipeline.output.metadata import RunFile

__all__ = [
    "HISTOGRAM_BINS",
    "DeadLetterExample",
    "DeadLetterReason",
    "ExitFlow",
    "LabelCount",
    "Picture",
    "ReportData",
    "ThroughputPoint",
]

HISTOGRAM_BINS = 20
"""Equal bins of the confidence histograms over [0, 1]."""


@dataclass(frozen=True)
class ExitFlow:
    """One exit of the cascade and the images that reached it.

    Attributes:
        exit_stage: From 1.
        num_reached: Images that got an answer here, final or not.
        num_left: Images whose answer was taken here.
        mean_confidence: Over those that left here; None if none did.
        gmacs_cumulative: Cost of one image that leaves here, from the model's configuration.
        gmacs_spent: Sum over the images that left here, from the table.
        threshold: Least confidence to leave here; None at the last exit and at full depth.
        histogram_left: Images that left here, by confidence at this exit.
        histogram_went_on: Images that went on to the next stage, by confidence at this exit.
    """

    exit_stage: int
    num_reached: int
    num_left: int
    mean_confidence: float | None
    gmacs_cumulative: float
    gmacs_spent: float
    threshold: float | None
    histogram_left: tuple[int, ...]
    histogram_went_on: tuple[int, ...]


@dataclass(frozen=True)
class LabelCount:
    """One label: how many images got it, and at which exits."""

    label: str
    num_by_exit: tuple[int, ...]

    @property
    def num_images(self) -> int:
        """Images with this label."""
        return sum(self.num_by_exit)

    @property
    def mean_exit(self) -> float:
        """Mean exit of the images with this label, from 1."""
        weighted = sum(stage * num for stage, num in enumerate(self.num_by_exit, start=1))
        return weighted / self.num_images


@dataclass(frozen=True)
class DeadLetterExample:
    """One image that failed for good."""

    key: str
    detail: str


@dataclass(frozen=True)
class DeadLetterReason:
    """A reason for failure, how many images it hit, and the first few of them by key."""

    reason: str
    num_images: int
    examples: tuple[DeadLetterExample, ...]


@dataclass(frozen=True)
class Picture:
    """One image shown on the page.

    Attributes:
        thumbnail: A `data:` URI, or None if the picture cannot be read now.
        missing_because: A few words for the placeholder; empty if there is a thumbnail.
    """

    key: str
    uri: str
    label: str
    confidence: float
    exit_stage: int
    thumbnail: str | None = None
    missing_because: str = ""


@dataclass(frozen=True)
class ThroughputPoint:
    """Images finished by the last run up to a moment, in seconds since its start."""

    elapsed_s: float
    num_images: int


@dataclass(frozen=True)
class ReportData:
    """Everything the page shows.

    Attributes:
        finished: Whether the output is complete (`_SUCCESS`, and a summary that fits the tables).
        notice: Why the numbers may be partial; empty if they are not.
        num_images: Images of the archive; of an unfinished run, those settled so far.
        seconds: Wall time over all runs; None if no shard is finished yet.
        images_per_second: End to end, over all runs; None if it is not known.
        num_labels: Distinct labels in the table; `labels` holds only the most frequent.
        audit: What the audited images say; None if the archive is not audited.
        throughput: Of the last run only; empty if it has too few finished shards for a curve.
        thresholds_used: By all runs with a deadline; of many changes only some.
        num_threshold_moves: All changes inside these runs.
    """

    run: RunFile
    finished: bool
    notice: str
    num_images: int
    num_tagged: int
    num_dead_letters: int
    seconds: float | None
    images_per_second: float | None
    exits: tuple[ExitFlow, ...]
    num_labels: int = 0
    labels: tuple[LabelCount, ...] = ()
    dead_letters: tuple[DeadLetterReason, ...] = ()
    easiest: tuple[Picture, ...] = ()
    hardest: tuple[Picture, ...] = ()
    throughput: tuple[ThroughputPoint, ...] = field(default=())
    audit: AuditSummary | None = None
    thresholds_used: tuple[ThresholdChange, ...] = ()
    num_threshold_moves: int = 0

    @property
    def gmacs_spent(self) -> float:
        """GMACs spent on all tagged images."""
        return sum(flow.gmacs_spent for flow in self.exits)

    @property
    def gmacs_full_depth(self) -> float:
        """GMACs if every tagged image had gone through all stages."""
        return self.num_tagged * self.exits[-1].gmacs_cumulative

    @property
    def gmacs_per_image(self) -> float | None:
        """Mean GMACs of a tagged image; None if there is none."""
        return self.gmacs_spent / self.num_tagged if self.num_tagged else None

    @property
    def cost_ratio(self) -> float | None:
        """GMACs spent over those of full depth; None if nothing is tagged."""
        return self.gmacs_spent / self.gmacs_full_depth if self.num_tagged else None
