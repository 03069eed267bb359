"""One supervised Ray actor, and the events of its life and of its calls."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ActorDown",
    "ActorEvent",
    "ActorGone",
    "ActorKind",
    "ActorUp",
    "CallReturned",
    "Event",
    "InputLost",
    "SupervisedActor",
]


@dataclass(frozen=True, slots=True, eq=False)
class ActorKind:
    """How to start actors of one kind.

    Attributes:
        name: for log messages, such as "decoder" or "pool 2-3".
        start: starts an actor and returns its Ray handle. The actor has a method `reset` that
            returns once the actor is up and empty: the ID of its node, or None.
    """

    name: str
    start: Callable[[], Any]


@dataclass(slots=True, eq=False)
class SupervisedActor:
    """One actor.

    Attributes:
        number: identifies the actor; never reused.
        kind: how it is started.
        handle: Ray's handle.
        node: ID of the node on which it came up last.
        is_leaving: it will be removed, and does not count as a replacement for others.
        calls: references of its outstanding calls.
        heard_s: time of its last reply, or of the first call since it was idle.
        down_s: time since when it is down; None while it is up.
        num_failures: failures since its last completed call.
        retry_at_s: time of the next attempt to reach it; None during an attempt.
        is_late: its slow start has been logged.
        is_dead: its handle can no longer be used.
    """

    number: int
    kind: ActorKind
    handle: Any
    node: str | None = None
    is_leaving: bool = False
    calls: set[Any] = field(default_factory=set)
    heard_s: float = 0.0
    down_s: float | None = field(default_factory=time.monotonic)
    num_failures: int = 0
    retry_at_s: float | None = None
    is_late: bool = False
    is_dead: bool = False

    @property
    def is_up(self) -> bool:
        """Whether it may get calls."""
        return self.down_s is None

    @property
    def is_starting(self) -> bool:
        """Whether it is down and expected to come up soon."""
        return not self.is_up and not self.is_late

    def __str__(self) -> str:
        return f"{self.kind.name} #{self.number}"


@dataclass(frozen=True, slots=True)
class ActorUp:
    """An actor is up and empty and may get calls."""

    actor: SupervisedActor


@dataclass(frozen=True, slots=True)
class ActorDown:
    """An actor failed, lost all it held, and restarts.

    Attributes:
        actor: that failed.
        reason: one line for the log.
        is_attempt: what the actor held may be the cause.
    """

    actor: SupervisedActor
    reason: str
    is_attempt: bool


@dataclass(frozen=True, slots=True)
class ActorGone:
    """An actor failed too often and was removed."""

    actor: SupervisedActor


@dataclass(frozen=True, slots=True)
class CallReturned:
    """A call, as passed to `ActorSupervisor.expect`, returned a result."""

    call: Any
    result: Any


@dataclass(frozen=True, slots=True)
class InputLost:
    """A call is over because an object that it needed is gone; its actor is unaffected."""

    call: Any


ActorEvent = ActorUp | ActorDown | ActorGone
Event = ActorEvent | CallReturned | InputLost
