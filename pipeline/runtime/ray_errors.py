"""What a Ray error means for the actor and for the input of a call.

`loss_of` maps Ray's exceptions to the five cases that the supervisor distinguishes. The order of
its tests matters: the loss of an input may arrive wrapped in a `RayTaskError`, which otherwise
means that the call itself raised.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

import ray
from ray import exceptions

from pipeline.errors import (
    ActorRestartedError,
    OutputFailedError,
    StaleEpochError,
    StorageDeniedError,
    StorageFailedError,
    UsageError,
)

__all__ = ["Loss", "first_line", "loss_of", "lost_objects"]

_PROBE_S = 30.0


class Loss(Enum):
    """What is gone.

    INPUT: an object that the call needed, or its result; the actor is unaffected.
    ACTOR: the actor with all it held.
    RESTARTING: the same, and the actor is restarting; one death may be reported many times.
    STATE: the call ended in an unknown state, for no fault of its input; restart the actor.
    RAISED: the call raised an unexpected error; restart the actor.
    """

    INPUT = auto()
    ACTOR = auto()
    RESTARTING = auto()
    STATE = auto()
    RAISED = auto()


# Any other actor would raise the same.
_ENDS_THE_RUN = (
    StaleEpochError,
    OutputFailedError,
    StorageDeniedError,
    StorageFailedError,
    UsageError,
)

_BLAMELESS = (
    exceptions.ObjectStoreFullError,
    exceptions.OutOfDiskError,
    exceptions.RpcError,
    exceptions.PendingCallsLimitExceeded,
)


def loss_of(error: Exception) -> Loss:
    """Classifies an error that `ray.get` raised for an actor's call.

    Raises:
        PipelineError: the call raised an error that ends the run.
    """
    cause = error.cause if isinstance(error, exceptions.RayTaskError) else error
    if isinstance(cause, _ENDS_THE_RUN):
        raise cause
    if isinstance(cause, ActorRestartedError):
        return Loss.ACTOR
    if isinstance(error, exceptions.ObjectLostError):
        return Loss.INPUT
    if isinstance(error, exceptions.ActorUnavailableError):
        return Loss.RESTARTING
    if isinstance(error, exceptions.RayActorError):
        return Loss.ACTOR
    if isinstance(error, _BLAMELESS) or isinstance(cause, _BLAMELESS):
        return Loss.STATE
    return Loss.RAISED


def lost_objects(references: Sequence[Any]) -> list[Any]:
    """Those of the references whose objects can no longer be fetched."""
    # All at once, because the loss of each object may take a while to be noticed.
    ray.wait(list(references), num_returns=len(references), timeout=_PROBE_S)
    lost = []
    for reference in references:
        try:
            ray.get(reference, timeout=1.0)
        except exceptions.RayError:
            lost.append(reference)
    return lost


def first_line(error: Exception) -> str:
    """The most informative line of a Ray error, without the remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return repr(error)
    # A remote traceback ends with the exception; an actor's death begins with a headline.
    line = lines[-1] if isinstance(error, exceptions.RayTaskError) else lines[0]
    return line[:300]
