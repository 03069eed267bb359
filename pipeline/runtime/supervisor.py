"""The actors of a run: how they start, what they owe, which are lost, and how they come up again.

Knows Ray and time; nothing of images. An actor that raises, hangs or dies starts anew: everything
it owed is dropped in one go, so that no answer from before the loss is ever taken. An input that is
lost is another matter: the call is over, the actor goes on.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray

from pipeline.errors import PipelineError
from pipeline.runtime.ray_errors import Loss, first_line, loss_of

__all__ = ["ActorKind", "ActorSupervisor", "Listener", "SupervisedActor"]

logger = logging.getLogger(__name__)

_PAUSE_S = 0.2  # longest wait for an answer; progress and commits have their turn this often
# Finding one image that kills its actor takes about ten losses in a row.
_MAX_FAILURES = 20
_MAX_START_S = 600.0
_LATE_S = 120.0
_RETRY_S = 0.5
_MAX_RETRY_S = 30.0
_PATIENT_FAILURES = 8  # in a row that are not slowed down yet


@dataclass(frozen=True, slots=True, eq=False)
class ActorKind:
    """Actors that are alike.

    Attributes:
        name: for a person, such as "decoder" or "pool 2-3".
        start: starts one and returns Ray's handle. Its `reset` answers, with the name of its node
            or None, once it is up and empty.
    """

    name: str
    start: Callable[[], Any]


@dataclass(slots=True, eq=False)
class SupervisedActor:
    """One actor.

    Attributes:
        number: of the actor, never used again.
        kind: of it.
        handle: Ray's, to call methods of.
        node: where it came up last.
        is_up: may get work.
        owed: references that it owes, and since when it owes any.
        heard_s: when it answered last, or got its first call after owing nothing.
        down_s: since when it is down; None while it is up.
        num_failures: losses since a call was answered last.
        ask_at_s: when to ask again whether it is up; None while an answer is awaited.
        is_late: it was told that it takes long to come up.
        is_dead: its handle is of no use any more.
    """

    number: int
    kind: ActorKind
    handle: Any
    node: str | None = None
    is_up: bool = False
    owed: set[Any] = field(default_factory=set)
    heard_s: float = 0.0
    down_s: float | None = field(default_factory=time.monotonic)
    num_failures: int = 0
    ask_at_s: float | None = None
    is_late: bool = False
    is_dead: bool = False

    @property
    def is_starting(self) -> bool:
        """Not up, and still expected soon."""
        return not self.is_up and not self.is_late

    def __str__(self) -> str:
        return f"{self.kind.name} #{self.number}"


class Listener(Protocol):
    """Who is told what becomes of the workers."""

    def on_up(self, worker: SupervisedActor) -> None:
        """It is up and empty and may get work."""

    def on_lost(self, worker: SupervisedActor, why: str, counts: bool) -> None:
        """All that it held is lost; `counts`: what it held may be the reason."""

    def on_gone(self, worker: SupervisedActor) -> None:
        """It is gone for good, with all it held."""

    def can_do_without(self, worker: SupervisedActor) -> bool:
        """Others of its kind are up."""


@dataclass(frozen=True, slots=True)
class _Expected:
    worker: SupervisedActor
    what: Callable[[], str]
    on_answer: Callable[[Any], None]
    on_input_lost: Callable[[], None] | None
    patience_s: float


class ActorSupervisor:
    """Actors, and the answers that are waited for.

    Args:
        listener: told what becomes of them.
        stalled_s: an actor that owes an answer and says nothing for so long hangs.
    """

    def __init__(self, listener: Listener, stalled_s: float) -> None:
        self._listener = listener
        self._stalled_s = stalled_s
        self._supervisor: dict[int, SupervisedActor] = {}
        self._expected: dict[Any, _Expected] = {}
        self._num_started = 0
        self._turn_ended_s = time.monotonic()

    def start(self, kind: ActorKind) -> SupervisedActor:
        """A new actor; `on_up` tells when it may get work."""
        worker = SupervisedActor(self._num_started, kind, kind.start())
        self._num_started += 1
        self._supervisor[worker.number] = worker
        self._ask(worker)
        return worker

    def remove(self, worker: SupervisedActor) -> None:
        """Ends an actor; what it owes is dropped."""
        self._drop_owed(worker)
        self._supervisor.pop(worker.number, None)
        ray.kill(worker.handle, no_restart=True)
        self._listener.on_gone(worker)

    def of_kind(self, kind: ActorKind) -> list[SupervisedActor]:
        """Those that were started and not removed."""
        return [worker for worker in self._supervisor.values() if worker.kind is kind]

    def on_nodes(self, nodes: Iterable[str]) -> list[SupervisedActor]:
        """Those that run there."""
        names = set(nodes)
        return [worker for worker in self._supervisor.values() if worker.node in names]

    def expect(
        self,
        reference: Any,
        worker: SupervisedActor,
        what: Callable[[], str],
        on_answer: Callable[[Any], None],
        on_input_lost: Callable[[], None] | None = None,
        patience_s: float = 0.0,
    ) -> None:
        """Waits for an answer; it is dropped if the worker is lost before.

        Args:
            reference: to wait for.
            worker: that owes it.
            what: names the work, for the log.
            on_answer: gets the answer.
            on_input_lost: told that an object which the call needed is gone, and the call over.
            patience_s: that this call may take longer than others.
        """
        if not worker.owed:
            worker.heard_s = time.monotonic()
        worker.owed.add(reference)
        self._expected[reference] = _Expected(worker, what, on_answer, on_input_lost, patience_s)

    def expect_only(self, worker: SupervisedActor) -> None:
        """Drops what all others owe, and cares for none of them any more."""
        for other in self._supervisor.values():
            if other is not worker:
                self._drop_owed(other)
        self._supervisor = {worker.number: worker}

    def wait(self) -> None:
        """Takes all answers that are there, or else the first that comes within a moment.

        Raises:
            PipelineError: an actor that is needed does not come up, or a call asked for a stop.
        """
        late_s = time.monotonic() - self._turn_ended_s
        for worker in self._supervisor.values():  # whatever kept us is no silence of theirs
            worker.heard_s += late_s
        self._take_answers()
        self._look_after_all()
        self._turn_ended_s = time.monotonic()

    def _take_answers(self) -> None:
        references = list(self._expected)
        if not references:  # every worker is down and about to be asked again
            time.sleep(_PAUSE_S)
            return
        ready, _ = ray.wait(references, num_returns=1, timeout=_PAUSE_S, fetch_local=False)
        if ready and len(references) > 1:
            ready, _ = ray.wait(
                references, num_returns=len(references), timeout=0, fetch_local=False
            )
        for reference in ready:
            expected = self._expected.pop(reference, None)
            if expected is None:
                continue  # its worker was lost a moment ago
            expected.worker.owed.discard(reference)
            expected.worker.heard_s = time.monotonic()
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayError as error:
                self._take_error(expected, error)
            else:
                if expected.worker.is_up:  # coming up alone proves nothing
                    expected.worker.num_failures = 0
                expected.on_answer(answer)

    def _take_error(self, expected: _Expected, error: Exception) -> None:
        loss = loss_of(error)
        if loss is Loss.INPUT and expected.on_input_lost is not None:
            logger.warning(
                "lost the data of %s on its way to %s, with the node that had it",
                expected.what(),
                expected.worker,
            )
            expected.on_input_lost()
            return
        self._lose(expected.worker, loss, first_line(error))

    def _ask(self, worker: SupervisedActor) -> None:
        def up(node: str | None) -> None:
            worker.down_s, worker.is_late = None, False
            worker.node, worker.is_up = node, True
            self._listener.on_up(worker)

        self.expect(worker.handle.reset.remote(), worker, lambda: "start", up)

    def _look_after_all(self) -> None:
        """Asks again who is down; gives up on who stays down; ends who hangs."""
        now_s = time.monotonic()
        for worker in list(self._supervisor.values()):
            if worker.down_s is not None:
                if worker.ask_at_s is not None and now_s >= worker.ask_at_s:
                    worker.ask_at_s = None
                    if worker.is_dead:
                        worker.handle, worker.is_dead = worker.kind.start(), False
                    self._ask(worker)
                self._judge_late(worker, now_s)
            elif worker.owed and now_s - worker.heard_s > self._stalled_s:
                owed = [self._expected[reference] for reference in worker.owed]
                patience_s = self._stalled_s + max(call.patience_s for call in owed)
                if now_s - worker.heard_s > patience_s:
                    work = ", ".join(call.what() for call in owed)
                    self._lose(worker, Loss.RAISED, f"no answer for {patience_s:.0f} s to {work}")

    def _judge_late(self, worker: SupervisedActor, now_s: float) -> None:
        """Who is not needed may take as long as the cluster takes to find room."""
        assert worker.down_s is not None
        down_s = now_s - worker.down_s
        if down_s > _LATE_S and not worker.is_late:
            worker.is_late = True
            logger.warning("%s has not come up for %.0f s; going on without it", worker, down_s)
        if down_s > _MAX_START_S and not self._listener.can_do_without(worker):
            raise PipelineError(
                f"{worker} has not come up for {down_s:.0f} s: the cluster has no room for it, "
                "or it cannot start"
            )

    def _lose(self, worker: SupervisedActor, loss: Loss, why: str) -> None:
        """Its state is unknown from now on, so it starts anew."""
        was_up = worker.is_up
        worker.is_up = False
        if worker.down_s is None:
            worker.down_s = time.monotonic()
        # "Unavailable" is what a restarting actor answers, for as long as it takes to load.
        worker.num_failures += was_up or loss is not Loss.RESTARTING
        slowed = max(0, worker.num_failures - _PATIENT_FAILURES)
        worker.ask_at_s = time.monotonic() + min(_MAX_RETRY_S, _RETRY_S * 2**slowed)
        worker.is_dead = loss is Loss.ACTOR and not was_up  # restarts by itself, unless it cannot
        self._drop_owed(worker)
        if loss in (Loss.RAISED, Loss.STATE, Loss.INPUT):
            ray.kill(worker.handle, no_restart=False)
        if was_up:
            is_at_fault = loss not in (Loss.STATE, Loss.INPUT)
            is_obstinate = worker.num_failures > _PATIENT_FAILURES
            self._listener.on_lost(worker, why, counts=is_at_fault or is_obstinate)
        if worker.num_failures > _MAX_FAILURES:
            if not self._listener.can_do_without(worker):
                raise PipelineError(f"{worker} failed {worker.num_failures} times in a row: {why}")
            logger.warning("%s failed too often (%s); going on without it", worker, why)
            self.remove(worker)

    def _drop_owed(self, worker: SupervisedActor) -> None:
        for reference in worker.owed:
            self._expected.pop(reference, None)
        worker.owed.clear()
