"""The pure scheduler: `Scheduler`, its events and actions. Start reading at `scheduler.py`."""

from pipeline.scheduling.actions import (
    Action,
    Decode,
    Flush,
    GiveUp,
    Keep,
    Release,
    Retire,
    Run,
)
from pipeline.scheduling.autoscaler import ActorRange, Autoscaler, PoolMetrics
from pipeline.scheduling.blocks import Origins, Rows
from pipeline.scheduling.events import (
    ActorAdded,
    ActorDraining,
    ActorLost,
    ActorReady,
    ActorRemoved,
    BlockDecoded,
    CallFinished,
    Event,
    Forwarded,
    ObjectLost,
    ShardArrived,
    SourceEnded,
)
from pipeline.scheduling.limits import DECODERS, Limits, Pool
from pipeline.scheduling.scheduler import Scheduler
from pipeline.scheduling.state import PoolLoad

__all__ = [
    "DECODERS",
    "Action",
    "ActorAdded",
    "ActorDraining",
    "ActorLost",
    "ActorRange",
    "ActorReady",
    "ActorRemoved",
    "Autoscaler",
    "BlockDecoded",
    "CallFinished",
    "Decode",
    "Event",
    "Flush",
    "Forwarded",
    "GiveUp",
    "Keep",
    "Limits",
    "ObjectLost",
    "Origins",
    "Pool",
    "PoolLoad",
    "PoolMetrics",
    "Release",
    "Retire",
    "Rows",
    "Run",
    "Scheduler",
    "ShardArrived",
    "SourceEnded",
]
