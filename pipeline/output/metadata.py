"""What the small files beside the tables hold: `run.json`, and the totals of `summary.json`.

Knows their fields; nothing of where or when they are written.
"""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.audit.summary import AuditSummary
from pipeline.deadline.log import DeadlineOutcome

__all__ = ["Hardware", "ModelIdentity", "RunFile", "Summary"]


class ModelIdentity(BaseModel):
    """Which model it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    digest: str
    num_classes: int
    grids: tuple[int, ...]
    gmacs_per_exit: tuple[float, ...]


class Hardware(BaseModel):
    """What a run ran on."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cpu: str
    num_cpus: int
    gpus: tuple[str, ...]


class RunFile(BaseModel):
    """`run.json`: what makes a run continue an earlier one, and under which circumstances.

    Attributes:
        thresholds: of this run, never looser than those of earlier ones.
        satisfied_thresholds: while stricter ones are on their way into the output, those that every tag
            satisfies already; None if these are `thresholds`.
        audit: share of the images that went to full depth beside their early answer.
        settings: what was asked for, for `dvt retry`; no credentials are among it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: str
    inputs: tuple[str, ...]
    model: ModelIdentity
    thresholds: tuple[float, ...]
    satisfied_thresholds: tuple[float, ...] | None = None
    top_k: int
    keep_columns: tuple[str, ...] = ()
    audit: float | None = None
    dtype: str
    batch_size: int
    versions: dict[str, str]
    hardware: Hardware
    started_at: datetime
    settings: dict[str, Any] = {}

    @model_validator(mode="after")
    def _thresholds_fit_exits(self) -> Self:
        num_exits = len(self.model.gmacs_per_exit)
        if len(self.thresholds) != num_exits - 1:
            raise ValueError(
                f"thresholds: {num_exits - 1} needed for {num_exits} exits, "
                f"received {len(self.thresholds)}"
            )
        return self


class Summary(BaseModel):
    """The JSON line of `dvt tag`; in `summary.json` over all runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    images: Annotated[int, Field(description="images the archive holds")]
    tagged: int
    dead_letters: int
    skipped: Annotated[int, Field(description="images that earlier runs had done")]
    tagged_before: Annotated[
        int, Field(description="images with a tag of an earlier run; 0 over all runs")
    ] = 0
    too_early: Annotated[
        int, Field(description="of those, left too early for these thresholds and done again")
    ] = 0
    exits: tuple[int, ...]
    gmacs_per_image: float | None
    gmacs_full_depth: float
    seconds: float
    images_per_second: float | None
    out: str
    audit: Annotated[
        AuditSummary | None, Field(description="always over all runs; None if nothing is audited")
    ] = None
    deadline: Annotated[
        DeadlineOutcome | None, Field(description="of this run; null without one")
    ] = None
