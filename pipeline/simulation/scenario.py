"""Scenarios: an archive, pools with their speeds, and fault rates."""

import math
import re
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.pools import parse_stages
from pipeline.scheduling import Limits, Pool

__all__ = ["Scenario", "fault_scenario"]


def _listed(value: object) -> object:
    return re.split(r"\s*[,|]\s*", value.strip()) if isinstance(value, str) else value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Scenario(BaseModel):
    """Runs the scheduler in virtual time on a simulated cluster, with faults.

    The scheduler is the one of `dvt tag`. After every step the invariants are checked: each image
    is completed exactly once, queues stay within their bytes, no actor idles while work waits.
    Fault rates are per hour of virtual time, for the whole cluster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Annotated[int, Field(ge=0, description="images in the archive")] = 1_000_000
    shard_images: Annotated[int, Field(ge=1, le=65536, description="images per shard")] = 1024
    pools: Annotated[str, Field(description="stages of each pool, such as '1 | 2-3'")] = "1-3"
    actors: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        BeforeValidator(_listed),
        Field(description="actors of each pool, separated by commas"),
    ] = (64,)
    decoders: Annotated[int, Field(ge=1, description="decode actors")] = 128
    batch_size: Annotated[int, Field(ge=1, le=65536, description="images per forward pass")] = 64
    calls_in_flight: Annotated[int, Field(ge=1, le=16, description="calls per actor")] = 2
    stage_ms: Annotated[
        tuple[Positive, ...],
        BeforeValidator(_listed),
        Field(description="milliseconds per batch of each stage, separated by commas"),
    ] = (20.0, 40.0, 80.0)
    exits: Annotated[
        tuple[Share, ...],
        BeforeValidator(_listed),
        Field(description="share of the images that exit at each stage, separated by commas"),
    ] = (0.6, 0.25, 0.15)
    drift: Annotated[
        float, Field(ge=0, le=3, description="how far images get harder and easier over time")
    ] = 0.0
    decode_ms: Annotated[Positive, Field(description="milliseconds to decode an image")] = 0.3
    listing_ms: Annotated[NotNegative, Field(description="milliseconds to list a shard")] = 1.0
    call_ms: Annotated[
        NotNegative, Field(description="milliseconds from or to an actor, per call")
    ] = 1.0
    image_kb: Annotated[Positive, Field(description="kilobytes of an image's pixels")] = 150.0
    state_kb: Annotated[Positive, Field(description="kilobytes of a hard image's state")] = 400.0
    budget_gb: Annotated[Positive, Field(description="gigabytes of all data in flight")] = 256.0
    actors_per_node: Annotated[int, Field(ge=1, description="actors per node")] = 8
    jitter: Annotated[Share, Field(description="relative deviation of a call's duration")] = 0.05
    stragglers: Annotated[Share, Field(description="share of slow actors")] = 0.0
    straggler_factor: Annotated[
        float, Field(ge=1, description="slowdown factor of slow actors")
    ] = 3.0
    slow_storage: Annotated[Share, Field(description="share of blocks decoded 20x slower")] = 0.0
    poison: Annotated[Share, Field(description="share of images that kill their actor")] = 0.0
    actor_losses: Annotated[NotNegative, Field(description="actors lost per hour")] = 0.0
    node_losses: Annotated[NotNegative, Field(description="nodes lost per hour")] = 0.0
    spot_drains: Annotated[NotNegative, Field(description="nodes preempted per hour")] = 0.0
    notice_s: Annotated[
        NotNegative, Field(description="seconds from the notice to the loss of a preempted node")
    ] = 120.0
    object_losses: Annotated[NotNegative, Field(description="objects lost per hour")] = 0.0
    resizes: Annotated[NotNegative, Field(description="actors added or drained per hour")] = 0.0
    coordinator_losses: Annotated[
        NotNegative, Field(description="restarts of the coordinator per hour")
    ] = 0.0
    commit_s: Annotated[Positive, Field(description="seconds between two commits")] = 1.0
    restart_s: Annotated[
        NotNegative, Field(description="seconds until a lost actor is up again")
    ] = 10.0
    seed: Annotated[int, Field(ge=0, description="the same seed gives the same run")] = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            ranges = parse_stages(self.pools)
        except ValueError as error:
            raise ValueError(f"pools: {error}") from error
        num_stages = ranges[-1][1]
        if len(self.actors) != len(ranges):
            raise ValueError(f"actors: {len(ranges)} values are needed (got {self.actors})")
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
        """The scheduler's limits; each queue has an equal share of the budget."""
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


_SPLITS = (
    ("1-3", (12,)),
    ("1 | 2-3", (6, 8)),
    ("1-2 | 3", (9, 4)),
    ("1 | 2 | 3", (6, 4, 4)),
)
_BUDGETS_GB = (0.2, 1.0, 20.0)


def fault_scenario(seed: int, images: int = 20_000) -> Scenario:
    """A small cluster on which something fails every few hundred milliseconds.

    The seeds cycle through four splits of the stages, three budgets (the first too small to be of
    use), with and without images that kill actors, with and without losses of the coordinator.

    Args:
        seed: of the scenario.
        images: in the archive.
    """
    pools, actors = _SPLITS[seed % 4]
    return Scenario(
        images=images,
        pools=pools,
        actors=actors,
        decoders=12,
        stage_ms=(100.0, 200.0, 400.0),
        decode_ms=3.0,
        drift=0.5,
        jitter=0.1,
        stragglers=0.1,
        slow_storage=0.02,
        budget_gb=_BUDGETS_GB[seed % 3],
        poison=1 / 2000 if seed % 5 == 0 else 0.0,
        actor_losses=3600.0,
        node_losses=600.0,
        spot_drains=900.0,
        object_losses=3600.0,
        resizes=3600.0,
        coordinator_losses=600.0 if seed % 2 else 0.0,
        actors_per_node=3,
        notice_s=1.0,
        restart_s=0.5,
        commit_s=0.5,
        seed=seed,
    )
