"""What a person asks of a tagging job."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dvt.inference import StateFormat
from pipeline.deadline.policy import DeadlineSettings
from pipeline.decoding.settings import MAX_BYTES, PILLOW_MAX_PIXELS, TIME_LIMIT_S
from pipeline.pools import PoolSettings
from pipeline.sources import SourceOptions

__all__ = ["TagSettings"]


@dataclass(frozen=True, slots=True)
class TagSettings:
    """What to tag, with what, and where to.

    Attributes:
        inputs: folders, files, globs, ranges, on this machine or on S3.
        out: the output: a folder, or `s3://bucket/prefix`.
        model: a shipped name, a checkpoint folder, or a published file.
        thresholds: one for each exit but the last; None for the model's own.
        full_depth: no early exits.
        batch_size: images per forward pass.
        top_k: labels named per image.
        max_dead_letters: how many images may fail: a number, or a share of the archive; None for
            any number.
        overwrite: remove earlier results first.
        num_decoders: decode actors; None lets the machine decide.
        decode: `exact`, within a grey level of the plain way, or `fast`.
        dedupe: compute images with identical bytes once.
        audit: share of the images that go to full depth beside their early answer; None for none.
        max_pixels: pictures that declare more are not decoded.
        max_bytes: files that are longer are not read.
        decode_seconds: for one picture; a decoder that takes longer is ended.
        memory_budget_bytes: of pixels and states in flight.
        pools: None for one actor with all stages.
        state_format: of what hard images carry from pool to pool; None for the precision that the
            model computes in, which loses nothing.
        stalled_s: an actor that owes an answer and says nothing for so long is started anew.
        reading: how the inputs are read.
        deadline: thresholds move so that the run ends in time; `thresholds` are then the loosest
            of its threshold sets. None if they stay.
    """

    inputs: tuple[str, ...]
    out: str | Path
    model: str
    thresholds: tuple[float, ...] | None = None
    full_depth: bool = False
    batch_size: int = 64
    top_k: int = 5
    max_dead_letters: int | float | None = None
    overwrite: bool = False
    num_decoders: int | None = None
    decode: Literal["exact", "fast"] = "exact"
    dedupe: bool = False
    audit: float | None = None
    max_pixels: int = PILLOW_MAX_PIXELS
    max_bytes: int = MAX_BYTES
    decode_seconds: float = TIME_LIMIT_S
    memory_budget_bytes: int = 2**30
    pools: tuple[PoolSettings, ...] | None = None
    state_format: StateFormat | None = None
    stalled_s: float = 300.0
    reading: SourceOptions = field(default_factory=SourceOptions)
    deadline: DeadlineSettings | None = None
