"""What is simulated: an archive, pools with their speeds, and what goes wrong."""

import math
import re
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.pools import parse_stages
from pipeline.scheduling import Limits, Pool

__all__ = ["Scenario"]


def _listed(value: object) -> object:
    return re.split(r"\s*[,|]\s*", value.strip()) if isinstance(value, str) else value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Scenario(BaseModel):
    """Runs the scheduler in virtual time on pools and faults of your choice.

    The scheduler is the one that `dvt tag` uses. What must hold is checked at every step: each
    image ends exactly once, bytes stay within their budgets, nothing stands still while work waits.
    Faults are given per hour of virtual time, for the whole cluster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Annotated[int, Field(ge=0, description="in the archive")] = 1_000_000
    shard_images: Annotated[int, Field(ge=1, le=65536, description="in a shard")] = 1024
    pools: Annotated[str, Field(description="stages of each pool, as in '1 | 2-3'")] = "1-3"
    actors: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        BeforeValidator(_listed),
        Field(description="of each pool, separated by commas"),
    ] = (64,)
    decoders: Annotated[int, Field(ge=1, description="decode actors")] = 128
    batch_size: Annotated[int, Field(ge=1, le=65536, description="images per forward pass")] = 64
    calls_in_flight: Annotated[int, Field(ge=1, le=16, description="per actor")] = 2
    stage_ms: Annotated[
        tuple[Positive, ...],
        BeforeValidator(_listed),
        Field(description="milliseconds of a batch in each stage, separated by commas"),
    ] = (20.0, 40.0, 80.0)
    exits: Annotated[
        tuple[Share, ...],
        BeforeValidator(_listed),
        Field(description="share of images that leave at each stage"),
    ] = (0.6, 0.25, 0.15)
    drift: Annotated[
        float, Field(ge=0, le=3, description="how much harder and easier images get on the way")
    ] = 0.0
    decode_ms: Annotated[Positive, Field(description="milliseconds to decode an image")] = 0.3
    listing_ms: Annotated[NotNegative, Field(description="milliseconds to list a shard")] = 1.0
    call_ms: Annotated[NotNegative, Field(description="milliseconds to an actor or back")] = 1.0
    image_kb: Annotated[Positive, Field(description="decoded pixels of an image")] = 150.0
    state_kb: Annotated[Positive, Field(description="what a hard image takes along")] = 400.0
    budget_gb: Annotated[Positive, Field(description="of all that is in flight")] = 256.0
    actors_per_node: Annotated[int, Field(ge=1, description="of every kind")] = 8
    jitter: Annotated[Share, Field(description="standard deviation of a call's time")] = 0.05
    stragglers: Annotated[Share, Field(description="share of actors that are slow")] = 0.0
    straggler_factor: Annotated[float, Field(ge=1, description="how slow they are")] = 3.0
    slow_storage: Annotated[Share, Field(description="share of blocks decoded 20x slower")] = 0.0
    poison: Annotated[Share, Field(description="share of images that kill their actor")] = 0.0
    actor_losses: Annotated[NotNegative, Field(description="actors that die, per hour")] = 0.0
    node_losses: Annotated[NotNegative, Field(description="nodes that die, per hour")] = 0.0
    spot_drains: Annotated[NotNegative, Field(description="nodes taken away, per hour")] = 0.0
    notice_s: Annotated[NotNegative, Field(description="notice before a node goes")] = 120.0
    object_losses: Annotated[NotNegative, Field(description="objects lost, per hour")] = 0.0
    resizes: Annotated[NotNegative, Field(description="actors added or let go, per hour")] = 0.0
    coordinator_losses: Annotated[NotNegative, Field(description="its restarts, per hour")] = 0.0
    commit_s: Annotated[Positive, Field(description="between two commits")] = 1.0
    restart_s: Annotated[NotNegative, Field(description="until a lost actor is up again")] = 10.0
    seed: Annotated[int, Field(ge=0, description="the same seed, the same run")] = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            ranges = parse_stages(self.pools)
        except ValueError as error:
            raise ValueError(f"pools: {error}") from error
        num_stages = ranges[-1][1]
        if len(self.actors) != len(ranges):
            raise ValueError(f"actors: {len(ranges)} numbers are needed (got {self.actors})")
        for name in ("stage_ms", "exits"):
            given = getattr(self, name)
            if len(given) != num_stages:
                raise ValueError(f"{name}: {num_stages} values are needed (got {given})")
        if not math.isclose(sum(self.exits), 1, abs_tol=1e-6):
            raise ValueError(f"exits: must add up to 1 (got {sum(self.exits):g})")
        return self

    @property
    def stage_ranges(self) -> tuple[tuple[int, int], ...]:
        """First and last stage of each pool."""
        return parse_stages(self.pools)

    @property
    def limits(self) -> Limits:
        """The scheduler's limits: every queue gets an equal share of the budget."""
        kilobytes = [self.image_kb] + [self.image_kb + self.state_kb] * (len(self.actors) - 1)
        pools = tuple(
            Pool(first, last, int(1000 * size))
            for (first, last), size in zip(self.stage_ranges, kilobytes, strict=True)
        )
        return Limits(
            block_length=self.batch_size,
            budget_bytes=int(self.budget_gb * 1e9),
            pools=pools,
            calls_in_flight=self.calls_in_flight,
        )
