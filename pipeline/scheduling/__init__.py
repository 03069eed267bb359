"""The scheduler and the words in which it is spoken to."""

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
from pipeline.scheduling.blocks import Origins
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
    Rows,
    ShardArrived,
    SourceEnded,
)
from pipeline.scheduling.limits import DECODERS, Limits, Pool
from pipeline.scheduling.load import PoolLoad
from pipeline.scheduling.scheduler import Scheduler
from pipeline.scheduling.sizing import PoolMetrics, PoolSizer, Size

__all__ = [
    "DECODERS",
    "Action",
    "ActorAdded",
    "ActorDraining",
    "ActorLost",
    "ActorReady",
    "ActorRemoved",
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
    "PoolSizer",
    "Release",
    "Retire",
    "Rows",
    "Run",
    "Scheduler",
    "ShardArrived",
    "Size",
    "SourceEnded",
]
