"""What a Ray error says about the actor and about its input.

One function from Ray's exceptions to the five things that can be done about them. The order of the
tests matters: a lost input also arrives wrapped in a `RayTaskError`, and would look like a bug in
the model. Knows Ray's exceptions; decides nothing.
"""

from enum import Enum, auto

from ray import exceptions

from pipeline.errors import (
    ActorRestartedError,
    OutputFailedError,
    StaleEpochError,
    StorageDeniedError,
    StorageFailedError,
    UsageError,
)

__all__ = ["Loss", "first_line", "loss_of"]


class Loss(Enum):
    """What is gone.

    INPUT: an object that the call needed, or its answer; the actor lives and did nothing.
    ACTOR: the actor, with all it held.
    RESTARTING: the same, and it is on its way up again; may be told many times for one death.
    STATE: the call did not end as it must, and nobody knows how far it came; the actor lives, but
        has to start anew. Nothing that it held is to blame.
    RAISED: the call raised what it must not: the actor has to start anew.
    """

    INPUT = auto()
    ACTOR = auto()
    RESTARTING = auto()
    STATE = auto()
    RAISED = auto()


# Whoever is asked, the answer would be the same.
_STOPS_THE_RUN = (
    StaleEpochError,
    OutputFailedError,
    StorageDeniedError,
    StorageFailedError,
    UsageError,
)

_NOBODYS_FAULT = (
    exceptions.ObjectStoreFullError,
    exceptions.OutOfDiskError,
    exceptions.RpcError,
    exceptions.PendingCallsLimitExceeded,
)


def loss_of(error: Exception) -> Loss:
    """What to make of an error that `ray.get` raised for an actor's call.

    Raises:
        PipelineError: the call asked the whole run to stop.
    """
    cause = error.cause if isinstance(error, exceptions.RayTaskError) else error
    if isinstance(cause, _STOPS_THE_RUN):
        raise cause
    if isinstance(cause, ActorRestartedError):
        return Loss.ACTOR
    if isinstance(error, exceptions.ObjectLostError):
        return Loss.INPUT
    if isinstance(error, exceptions.ActorUnavailableError):
        return Loss.RESTARTING
    if isinstance(error, exceptions.RayActorError):
        return Loss.ACTOR
    if isinstance(error, _NOBODYS_FAULT) or isinstance(cause, _NOBODYS_FAULT):
        return Loss.STATE
    return Loss.RAISED


def first_line(error: Exception) -> str:
    """The line of a Ray error that says most, without the remote trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return repr(error)
    # A remote trace ends with the exception itself; an actor's death begins with a headline.
    line = lines[-1] if isinstance(error, exceptions.RayTaskError) else lines[0]
    return line[:300]
