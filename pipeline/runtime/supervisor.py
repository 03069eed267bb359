"""Supervises Ray actors: start, outstanding calls, failure detection, restart.

`ActorSupervisor.wait` yields what happened. An actor that raises, hangs or dies is restarted, and
its outstanding calls are dropped at once, so that no result from before a failure is used. The loss
of a call's input ends only that call. Independent of images, pools and tables.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray

from pipeline.errors import PipelineError
from pipeline.runtime.ray_errors import Loss, first_line, loss_of
from pipeline.runtime.supervised_actor import (
    ActorDown,
    ActorEvent,
    ActorGone,
    ActorKind,
    ActorUp,
    CallReturned,
    Event,
    InputLost,
    SupervisedActor,
)

__all__ = ["ActorSupervisor"]

logger = logging.getLogger(__name__)

_POLL_S = 0.2  # upper bound of one wait; progress and commits take place between two
_MAX_FAILURES = 20  # the search for one image that kills its actor takes about ten in a row
_MAX_START_S = 600.0
_LATE_START_S = 120.0
_RETRY_S = 0.5
_MAX_RETRY_S = 30.0
_FAST_RETRIES = 8  # consecutive failures before restarts slow down
_RESET = object()


@dataclass(frozen=True, slots=True)
class _Call:
    actor: SupervisedActor
    call: Any
    description: str
    has_input: bool
    extra_s: float


class ActorSupervisor:
    """Actors and their outstanding calls.

    Args:
        stalled_s: restart an actor that has not replied for this many seconds.
    """

    def __init__(self, stalled_s: float) -> None:
        self._stalled_s = stalled_s
        self._actors: dict[int, SupervisedActor] = {}
        self._calls: dict[Any, _Call] = {}
        self._num_started = 0
        self._waited_s = time.monotonic()

    def start(self, kind: ActorKind) -> SupervisedActor:
        """Starts an actor; `ActorUp` follows once it may get calls."""
        actor = SupervisedActor(self._num_started, kind, kind.start())
        self._num_started += 1
        self._actors[actor.number] = actor
        self._reset(actor)
        return actor

    def remove(self, actor: SupervisedActor) -> None:
        """Ends an actor and drops its calls; no event follows."""
        self._drop_calls(actor)
        self._actors.pop(actor.number, None)
        ray.kill(actor.handle, no_restart=True)

    def keep_only(self, actor: SupervisedActor) -> None:
        """Drops the calls of all other actors and stops supervising them."""
        for other in self._actors.values():
            if other is not actor:
                self._drop_calls(other)
        self._actors = {actor.number: actor}

    def expect(
        self,
        reference: Any,
        actor: SupervisedActor,
        call: Any,
        description: str,
        has_input: bool = False,
        extra_s: float = 0.0,
    ) -> None:
        """Adds an outstanding call, which ends in an event or with a failure of its actor.

        Args:
            reference: Ray's reference to the return value.
            actor: that was called.
            call: returned in the event.
            description: for log messages.
            has_input: the call has an argument in the object store, whose loss is `InputLost`.
            extra_s: time that this call may take beyond `stalled_s`.
        """
        if not actor.calls:
            actor.heard_s = time.monotonic()
        actor.calls.add(reference)
        self._calls[reference] = _Call(actor, call, description, has_input, extra_s)

    def wait(self) -> Iterator[Event]:
        """Yields everything that has happened, or the first event within a fraction of a second.

        Handle each event before taking the next. Calls whose events were not taken stay
        outstanding.

        Raises:
            PipelineError: an actor that is needed does not start, or a call raised an error that
                ends the run.
        """
        self._excuse()
        for reference in self._ready():
            yield from self._excused(self._take(reference))
        for actor in list(self._actors.values()):
            yield from self._excused(self._check(actor, time.monotonic()))
        self._waited_s = time.monotonic()

    def _excused(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events; the time in which the caller handles one counts against no actor."""
        for event in events:
            self._waited_s = time.monotonic()
            yield event
            self._excuse()

    def _excuse(self) -> None:
        """Moves all times by the time spent elsewhere, where no reply could be received."""
        elsewhere_s = time.monotonic() - self._waited_s
        for actor in self._actors.values():
            actor.heard_s += elsewhere_s
            if actor.down_s is not None:
                actor.down_s += elsewhere_s

    def _ready(self) -> list[Any]:
        references = list(self._calls)
        if not references:  # every actor is down and waits for its next attempt
            time.sleep(_POLL_S)
            return []
        ready, _ = ray.wait(references, num_returns=1, timeout=_POLL_S, fetch_local=False)
        if ready and len(references) > 1:
            ready, _ = ray.wait(
                references, num_returns=len(references), timeout=0, fetch_local=False
            )
        return list(ready)

    def _take(self, reference: Any) -> Iterator[Event]:
        call = self._calls.pop(reference, None)
        if call is None:
            return  # dropped because its actor failed a moment ago
        actor = call.actor
        actor.calls.discard(reference)
        actor.heard_s = time.monotonic()
        try:
            result = ray.get(reference)
        except ray.exceptions.RayError as error:
            loss = loss_of(error)
            if loss is Loss.INPUT and call.has_input:
                yield InputLost(call.call)
            else:
                yield from self._fail(actor, loss, first_line(error))
            return
        if call.call is _RESET:
            actor.node, actor.down_s, actor.is_late = result, None, False
            yield ActorUp(actor)
        else:
            actor.num_failures = 0  # a successful start does not reset the count
            yield CallReturned(call.call, result)

    def _reset(self, actor: SupervisedActor) -> None:
        self.expect(actor.handle.reset.remote(), actor, _RESET, "start")

    def _check(self, actor: SupervisedActor, now_s: float) -> Iterator[ActorEvent]:
        """Tries again to reach an actor that is down; restarts one that hangs."""
        if actor.down_s is not None:
            if actor.retry_at_s is not None and now_s >= actor.retry_at_s:
                actor.retry_at_s = None
                if actor.is_dead:
                    actor.handle, actor.is_dead = actor.kind.start(), False
                self._reset(actor)
            self._check_start(actor, now_s - actor.down_s)
        elif actor.calls and now_s - actor.heard_s > self._stalled_s:
            calls = [self._calls[reference] for reference in actor.calls]
            limit_s = self._stalled_s + max(call.extra_s for call in calls)
            is_silent = now_s - actor.heard_s > limit_s
            # A reply may have come since the last look.
            if is_silent and not ray.wait(list(actor.calls), timeout=0, fetch_local=False)[0]:
                work = ", ".join(call.description for call in calls)
                yield from self._fail(actor, Loss.RAISED, f"no reply for {limit_s:.0f} s to {work}")

    def _check_start(self, actor: SupervisedActor, down_s: float) -> None:
        """An actor with a replacement may wait for room on the cluster without limit."""
        if down_s > _LATE_START_S and not actor.is_late:
            actor.is_late = True
            logger.warning("%s has not started after %.0f s; continuing without it", actor, down_s)
        if down_s > _MAX_START_S and not self._has_replacement(actor):
            raise PipelineError(
                f"{actor} has not started after {down_s:.0f} s: the cluster has no room for it, "
                "or its start fails"
            )

    def _fail(self, actor: SupervisedActor, loss: Loss, reason: str) -> Iterator[ActorEvent]:
        """The state of an actor is gone or unknown: restart it."""
        was_up = actor.is_up
        if actor.down_s is None:
            actor.down_s = time.monotonic()
        # A restarting actor is unavailable for as long as it loads, which is one failure.
        actor.num_failures += was_up or loss is not Loss.RESTARTING
        slow_retries = max(0, actor.num_failures - _FAST_RETRIES)
        actor.retry_at_s = time.monotonic() + min(_MAX_RETRY_S, _RETRY_S * 2**slow_retries)
        actor.is_dead = loss is Loss.ACTOR and not was_up  # one that was up restarts by itself
        self._drop_calls(actor)
        if loss in (Loss.RAISED, Loss.STATE, Loss.INPUT):
            ray.kill(actor.handle, no_restart=False)
        if was_up:
            is_blameless = loss in (Loss.STATE, Loss.INPUT) and actor.num_failures <= _FAST_RETRIES
            yield ActorDown(actor, reason, is_attempt=not is_blameless)
        if actor.num_failures > _MAX_FAILURES and actor.number in self._actors:
            if not self._has_replacement(actor):
                raise PipelineError(f"{actor} failed {actor.num_failures} times in a row: {reason}")
            logger.warning("%s failed too often (%s); continuing without it", actor, reason)
            self.remove(actor)
            yield ActorGone(actor)

    def _has_replacement(self, actor: SupervisedActor) -> bool:
        return any(
            other.is_up and not other.is_leaving and other.kind is actor.kind
            for other in self._actors.values()
            if other is not actor
        )

    def _drop_calls(self, actor: SupervisedActor) -> None:
        for reference in actor.calls:
            self._calls.pop(reference, None)
        actor.calls.clear()
