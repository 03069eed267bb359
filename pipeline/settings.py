"""The settings of a tagging job: the options of all rooms in one frozen object.

A `TagSettings` is a `SourceOptions`, a `DecodeOptions` and a `CascadeOptions`, so it goes to each
room as it is, and into `run.json`. Thresholds are no part of it: they are chosen for a model
(`dvt calibrate`, `dvt tag --budget`), and a run may change them.
"""

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from dvt.loading import DEFAULT_MODEL
from pipeline.cascade.options import CascadeOptions
from pipeline.decoding import DecodeOptions
from pipeline.options import Options, Texts
from pipeline.pools import Pools
from pipeline.sources import SourceOptions
from pipeline.storage.local_files import file_uri
from pipeline.units import CountOrShare

__all__ = ["BINDING_OPTIONS", "RunOptions", "TagSettings"]

BINDING_OPTIONS = ("top_k", "sure_of", "keep_columns", "audit", "decode", "max_pixels")
"""Options that all runs on an output share; one that is not given is that of the run before."""


def _utf8(inputs: tuple[str, ...]) -> tuple[str, ...]:
    """The INPUTs, with URIs for names that are no UTF-8, which `run.json` could not hold."""

    def as_text(name: str) -> str:
        try:
            name.encode()
        except UnicodeEncodeError:
            return file_uri(os.fsencode(Path(name).expanduser().absolute()))
        return name

    return tuple(map(as_text, inputs))


class RunOptions(Options):
    """Run options."""

    out: Annotated[str, Field(description="output: a folder or s3://bucket/prefix")]
    max_errors: Annotated[
        CountOrShare,
        Field(
            description="stop after more dead letters than this: a number, or a share of the "
            "images like 1%; files that are no pictures count for neither"
        ),
    ] = None


class TagSettings(RunOptions, SourceOptions, DecodeOptions, CascadeOptions):
    """Job options."""

    input: Annotated[Texts, AfterValidator(_utf8), Field(min_length=1, description="images to tag")]
    model: Annotated[
        str, Field(description="shipped name, folder, file, or hf-hub:org/name[@revision]")
    ] = DEFAULT_MODEL
    overwrite: Annotated[bool, Field(description="delete earlier results in OUT first")] = False
    moved: Annotated[
        bool, Field(description="continue OUT after INPUT has moved to another place")
    ] = False
    dedupe: Annotated[
        bool, Field(description="run images with identical bytes through the model only once")
    ] = False
    decoders: Annotated[
        int | None,
        Field(ge=1, description="decode processes [default: the cores that the pools leave]"),
    ] = None
    pools: Annotated[
        Pools,
        Field(
            description="stages of each actor pool, e.g. '1 | 2-3', each followed by its needs: "
            "actors=1-4 cpus= gpus= threads= device= batch_size= label:NAME= "
            "[default: all stages in one pool]"
        ),
    ] = None
    memory_gb: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="limit of pixels and features in flight, GB"),
    ] = 1.0
    stalled_s: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="restart an actor that has not replied for this many seconds",
        ),
    ] = 300.0

    @model_validator(mode="after")
    def _decoding_ends_before_a_stall(self) -> Self:
        if self.decode_seconds > self.stalled_s:
            raise ValueError(
                f"decode_seconds: must be at most stalled_s, {self.stalled_s:g} "
                f"(got {self.decode_seconds:g})"
            )
        return self
