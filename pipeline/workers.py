"""The actors of a run: what they owe, which are lost, and how they come up again.

Knows Ray and time; nothing of images. An actor that raises or dies starts anew: everything it owed
is dropped in one go, so that no answer from before the loss is ever taken.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray

from pipeline.errors import PipelineError, Stalled

__all__ = ["Worker", "Workers"]

logger = logging.getLogger(__name__)

_PAUSE_S = 0.2  # longest wait for an answer; progress and commits have their turn this often
_STALLED_S = 600.0
_MAX_FAILURES = 5
_MAX_RESTART_S = 600.0
_RETRY_S = 0.5


class Worker(NamedTuple):
    """One actor: "decoder", "cascade" or "writer", and its number among these."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


@dataclass(frozen=True, slots=True)
class _Expected:
    worker: Worker
    on_answer: Callable[[Any], None]


@dataclass(slots=True)
class _Down:
    """An actor that is not up yet, or not any more.

    Attributes:
        since_s: when that was noticed.
        num_failures: how often it died, "unavailable" while it restarts not counted.
        ask_at_s: when to ask it again; None while an answer is awaited.
    """

    since_s: float = field(default_factory=time.monotonic)
    num_failures: int = 0
    ask_at_s: float | None = None


class Workers:
    """Actors, and the answers that are waited for.

    Args:
        handles: Ray's handles; each has a method `reset` that answers once it is up and empty.
        on_up: told when an actor may get work.
        on_lost: told when all that an actor held is lost.
    """

    def __init__(
        self,
        handles: dict[Worker, Any],
        on_up: Callable[[Worker], None],
        on_lost: Callable[[Worker], None],
    ) -> None:
        self._handles = handles
        self._on_up = on_up
        self._on_lost = on_lost
        self._expected: dict[Any, _Expected] = {}
        self._down: dict[Worker, _Down] = {}
        self._last_event_s = time.monotonic()

    def start(self) -> None:
        """Asks every actor whether it is up."""
        for worker in self._handles:
            self._reset(worker)

    def handle(self, worker: Worker) -> Any:
        """Ray's handle, to call a method of."""
        return self._handles[worker]

    def expect(self, reference: Any, worker: Worker, on_answer: Callable[[Any], None]) -> None:
        """Waits for an answer of a worker; it is dropped if the worker is lost before."""
        self._expected[reference] = _Expected(worker, on_answer)

    def expect_only(self, worker: Worker) -> None:
        """Drops what all others owe."""
        self._expected = {r: e for r, e in self._expected.items() if e.worker == worker}

    def owes(self, worker: Worker) -> bool:
        """Whether an answer of this worker is awaited."""
        return any(expected.worker == worker for expected in self._expected.values())

    def wait(self) -> None:
        """Takes all answers that are there, or the first that comes within a moment.

        Raises:
            Stalled: no answer came for ten minutes.
            PipelineError: an actor does not come up again.
        """
        for worker, down in self._down.items():
            if down.ask_at_s is not None and time.monotonic() >= down.ask_at_s:
                down.ask_at_s = None
                self._reset(worker)
        references = list(self._expected)
        if not references:  # every worker is down and about to be asked again
            time.sleep(_PAUSE_S)
            return
        ready, _ = ray.wait(references, num_returns=1, timeout=_PAUSE_S)
        if ready:
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
            self._last_event_s = time.monotonic()
        elif time.monotonic() - self._last_event_s > _STALLED_S:
            waiting = sorted({str(expected.worker) for expected in self._expected.values()})
            raise Stalled(f"no answer for {_STALLED_S:.0f} s; waited for: {', '.join(waiting)}")
        for reference in ready:
            expected = self._expected.pop(reference, None)
            if expected is None:
                continue  # its worker was lost a moment ago
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayError as error:
                self._lose(expected.worker, error)
            else:
                expected.on_answer(answer)

    def _reset(self, worker: Worker) -> None:
        def up(_answer: None) -> None:
            self._down.pop(worker, None)
            self._on_up(worker)

        self.expect(self._handles[worker].reset.remote(), worker, up)

    def _lose(self, worker: Worker, error: Exception) -> None:
        """An actor died, or raised what it must not: its state is unknown, so it starts anew."""
        reason = next(reversed(str(error).strip().splitlines()), repr(error))
        if worker not in self._down:
            logger.warning("lost %s (%s); what it held is done again", worker, reason)
        down = self._down.setdefault(worker, _Down())
        # "Unavailable" is what a restarting actor answers, for as long as it takes to load.
        if not isinstance(error, ray.exceptions.ActorUnavailableError):
            down.num_failures += 1
        down_s = time.monotonic() - down.since_s
        if down.num_failures > _MAX_FAILURES or down_s > _MAX_RESTART_S:
            raise PipelineError(f"{worker} does not come up again: {reason}")
        down.ask_at_s = time.monotonic() + _RETRY_S
        self._expected = {r: e for r, e in self._expected.items() if e.worker != worker}
        if not isinstance(error, ray.exceptions.RayActorError):
            ray.kill(self._handles[worker], no_restart=False)
        self._on_lost(worker)
