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
from pipeline.scheduling.events import (
    ActorAdded,
    ActorDraining,
    ActorLost,
    ActorReady,
    ActorRemoved,
    CallFinished,
    Event,
    Forwarded,
    ObjectLost,
    ParcelDecoded,
    Rows,
    ShardArrived,
    SourceEnded,
)
from pipeline.scheduling.limits import DECODERS, Limits, Pool
from pipeline.scheduling.load import PoolLoad
from pipeline.scheduling.parcels import Origins
from pipeline.scheduling.scheduler import Scheduler
from pipeline.scheduling.sizing import PoolSizer, Seen, Size

__all__ = [
    "DECODERS",
    "Action",
    "ActorAdded",
    "ActorDraining",
    "ActorLost",
    "ActorReady",
    "ActorRemoved",
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
    "ParcelDecoded",
    "Pool",
    "PoolLoad",
    "PoolSizer",
    "Release",
    "Retire",
    "Rows",
    "Run",
    "Scheduler",
    "Seen",
    "ShardArrived",
    "Size",
    "SourceEnded",
]
