"""`thresholds_used.json` in the output: which thresholds were in use when, over all runs.

Only runs with a deadline write it. All others have one set of thresholds, which is in `run.json`.
"""

import logging
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dvt.validation import first_problem
from pipeline.errors import PipelineError, StaleEpochError, UsageError
from pipeline.storage import OutputStore

__all__ = [
    "THRESHOLD_LOG",
    "DeadlineOutcome",
    "ThresholdChange",
    "ThresholdLog",
    "read_threshold_log",
]

logger = logging.getLogger(__name__)

THRESHOLD_LOG = "thresholds_used.json"

_WRITE_EVERY_S = 10.0


class ThresholdChange(BaseModel):
    """Thresholds in use from a moment until the next change of the same run.

    Attributes:
        run: name of the run.
        seconds: since its start.
        images: completed by the run until then.
        threshold_set: index in its schedule; 0 is full depth.
        thresholds: one for each exit but the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: str
    seconds: float
    images: int
    threshold_set: int
    thresholds: tuple[float, ...]


class DeadlineOutcome(BaseModel):
    """How a run with a deadline ended.

    Attributes:
        deadline_s: allowed, from the start of the run.
        ended_s: taken, until every answer was committed and Ray had ended; excludes merging files.
        moves: number of changes of the thresholds.
        safest: thresholds of the safest set used; None if nothing was computed.
        loosest: thresholds of the cheapest set used; None if nothing was computed.
        loosest_allowed: thresholds of the last set of the schedule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    deadline_s: float
    ended_s: float
    moves: int
    safest: tuple[float, ...] | None
    loosest: tuple[float, ...] | None
    loosest_allowed: tuple[float, ...]


_CHANGES = TypeAdapter(tuple[ThresholdChange, ...])


def read_threshold_log(store: OutputStore) -> tuple[ThresholdChange, ...]:
    """All changes in an output; none if it never had a run with a deadline.

    Raises:
        UsageError: the file is damaged.
    """
    content = store.read(THRESHOLD_LOG)
    if content is None:
        return ()
    try:
        return _CHANGES.validate_json(content)
    except ValidationError as error:
        raise UsageError(
            f"out: {THRESHOLD_LOG} in {store.uri} is damaged ({first_problem(error)}); remove it"
        ) from error


class ThresholdLog:
    """Appends the changes of one run to those of earlier runs.

    A write that fails is logged and retried later; it never stops the run.

    Args:
        store: the output.
        run: name of this run.
        check_epoch: raises `StaleEpochError` if a later run has the output.

    Attributes:
        of_this_run: its changes, oldest first.

    Raises:
        UsageError: the file of earlier runs is damaged.
    """

    def __init__(self, store: OutputStore, run: str, check_epoch: Callable[[], None]) -> None:
        self._store = store
        self._run = run
        self._check_epoch = check_epoch
        self._earlier = read_threshold_log(store)
        self._written_s = -_WRITE_EVERY_S
        self._num_written = 0
        self.of_this_run: list[ThresholdChange] = []

    def add(
        self, seconds: float, images: int, threshold_set: int, thresholds: tuple[float, ...]
    ) -> None:
        """Adds a change; the arguments are those of `ThresholdChange`."""
        change = ThresholdChange(
            run=self._run,
            seconds=round(seconds, 3),
            images=images,
            threshold_set=threshold_set,
            thresholds=thresholds,
        )
        self.of_this_run.append(change)

    def write_if_due(self) -> None:
        """Writes new changes, at most every ten seconds."""
        if time.monotonic() - self._written_s >= _WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Writes new changes, unless a later run has the output."""
        if len(self.of_this_run) == self._num_written:
            return
        self._written_s = time.monotonic()
        changes = (*self._earlier, *self.of_this_run)
        try:
            self._check_epoch()
            self._store.write(THRESHOLD_LOG, _CHANGES.dump_json(changes, indent=1))
        except StaleEpochError:
            return  # the next commit raises it
        except PipelineError as error:
            logger.warning("cannot write %s, will try again: %s", THRESHOLD_LOG, error)
            return
        self._num_written = len(self.of_this_run)
