"""The writer actor and the commits: predictions become a file, and the file becomes visible.

Commits run in a thread, one at a time, because a storage that throttles may take minutes for one.
"""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.errors import PipelineError
from pipeline.output.results import Results, ShardRows
from pipeline.runtime.ray_errors import lost_objects
from pipeline.runtime.supervised_actor import (
    ActorDown,
    ActorKind,
    ActorUp,
    CallReturned,
    Event,
    InputLost,
)
from pipeline.runtime.supervisor import ActorSupervisor

__all__ = ["ResultWriter"]

logger = logging.getLogger(__name__)

_SETTLE_S = 20.0


class ResultWriter:
    """Starts the writer actor and has it write one file for each commit.

    Args:
        kind: how the actor is started.
        supervisor: of the actor.
        results: to be committed.
    """

    def __init__(self, kind: ActorKind, supervisor: ActorSupervisor, results: Results) -> None:
        self._supervisor = supervisor
        self._results = results
        self._actor = supervisor.start(kind)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._commit: Future[None] | None = None

    def commit_if_due(self, at_once: bool) -> None:
        """Starts the next commit if the last one has ended and it is due.

        Args:
            at_once: whatever has been collected is due.

        Raises:
            StaleEpochError: a later run has taken the output over.
            OutputFailedError: the storage does not accept the results.
        """
        if self._commit is not None:
            if not self._commit.done():
                return
            self._commit.result()
            self._commit = None
        if self._results.start_commit(at_once):
            self._write()

    def concerns(self, event: Event) -> bool:
        """Whether an event is about the writer actor or its call."""
        subject = event.call if isinstance(event, CallReturned | InputLost) else event.actor
        return subject is self or subject is self._actor

    def handle(self, event: Event) -> ShardRows:
        """Handles an event about the writer.

        Returns:
            Shards and rows whose predictions were lost, to be done again.
        """
        restarted: ShardRows = []
        match event:
            case CallReturned(_, file):
                self._commit = self._thread.submit(self._results.commit, file)
            case InputLost():
                lost = lost_objects(self._results.tables_in_progress)
                restarted = self._results.drop_lost(lost)
                self._write()
            case ActorDown(_, reason):
                logger.warning("lost %s (%s); it writes its last file again", self._actor, reason)
            case ActorUp() if self._results.is_commit_in_progress and self._commit is None:
                self._write()
        return restarted

    def settle(self) -> None:
        """Commits the results so far before an early end; no other actor is waited for."""
        until_s = time.monotonic() + _SETTLE_S
        self._supervisor.keep_only(self._actor)
        try:
            while not self._results.are_committed and time.monotonic() < until_s:
                self.commit_if_due(at_once=True)
                for event in self._supervisor.wait():
                    self.handle(event)
        except PipelineError as error:
            logger.warning("the last results could not be committed: %s", error)

    def _write(self) -> None:
        """Writes one file with the rows of all tables, now or once the actor is up."""
        tables = self._results.tables_in_progress
        if not tables:  # dead letters only
            self._commit = self._thread.submit(self._results.commit, None)
        elif self._actor.is_up:
            file = self._actor.handle.write.remote(*tables)
            description = f"a file of {len(tables)} tables"
            self._supervisor.expect(file, self._actor, self, description, has_input=True)
