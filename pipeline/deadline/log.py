"""`thresholds_used.json` in the output: which thresholds were in use when, over all runs.

Only runs with a deadline write it; all others have one set of thresholds, which is in `run.json`.
"""

import logging
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dvt.validation import first_problem
from pipeline.errors import PipelineError, StaleEpochError, UsageError
from pipeline.storage import OutputStore

__all__ = [
    "THRESHOLDS_USED",
    "DeadlineOutcome",
    "ThresholdsUsed",
    "UsedFrom",
    "read_thresholds_used",
]

logger = logging.getLogger(__name__)

THRESHOLDS_USED = "thresholds_used.json"

_WRITE_EVERY_S = 10.0


class UsedFrom(BaseModel):
    """Thresholds that were in use from a moment on, until the next entry of the same run.

    Attributes:
        run: name of the run.
        seconds: since its start.
        images: that the run had done by then.
        threshold_set: of its ladder; 0 is full depth.
        thresholds: one for each exit but the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: str
    seconds: float
    images: int
    threshold_set: int
    thresholds: tuple[float, ...]


class DeadlineOutcome(BaseModel):
    """What became of a deadline.

    Attributes:
        deadline_s: asked for, from the start of the run.
        ended_s: when every answer was committed and Ray had ended; small files are merged later.
        moves: how often the thresholds changed.
        safest: thresholds of the safest threshold set that was used; None if nothing was computed.
        loosest: of the cheapest one.
        loosest_allowed: of the last threshold set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    deadline_s: float
    ended_s: float
    moves: int
    safest: tuple[float, ...] | None
    loosest: tuple[float, ...] | None
    loosest_allowed: tuple[float, ...]


_ENTRIES = TypeAdapter(tuple[UsedFrom, ...])


def read_thresholds_used(place: OutputStore) -> tuple[UsedFrom, ...]:
    """All entries of an output; none if it never had a run with a deadline.

    Raises:
        UsageError: the file is damaged.
    """
    content = place.read(THRESHOLDS_USED)
    if content is None:
        return ()
    try:
        return _ENTRIES.validate_json(content)
    except ValidationError as error:
        raise UsageError(
            f"out: {THRESHOLDS_USED} in {place.uri} is damaged ({first_problem(error)}); remove it"
        ) from error


class ThresholdsUsed:
    """Takes down the changes of one run, behind those of earlier ones.

    It informs, and stops nothing: what cannot be written is told, and tried again later.

    Args:
        place: the output.
        run: name of this run.
        check_epoch: raises `StaleEpochError` if a later run has the output.

    Raises:
        UsageError: what earlier runs left is damaged.
    """

    def __init__(self, place: OutputStore, run: str, check_epoch: Callable[[], None]) -> None:
        self._place = place
        self._run = run
        self._check_epoch = check_epoch
        self._earlier = read_thresholds_used(place)
        self._written_s = -_WRITE_EVERY_S
        self._num_written = 0
        self.of_this_run: list[UsedFrom] = []

    def add(
        self, seconds: float, images: int, threshold_set: int, thresholds: tuple[float, ...]
    ) -> None:
        """A threshold set is in use from now on."""
        entry = UsedFrom(
            run=self._run,
            seconds=round(seconds, 3),
            images=images,
            threshold_set=threshold_set,
            thresholds=thresholds,
        )
        self.of_this_run.append(entry)

    def write_if_due(self) -> None:
        """Writes what is new, but not too often."""
        if time.monotonic() - self._written_s >= _WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Writes what is new, unless a later run has the output."""
        if len(self.of_this_run) == self._num_written:
            return
        self._written_s = time.monotonic()
        entries = (*self._earlier, *self.of_this_run)
        try:
            self._check_epoch()
            self._place.write(THRESHOLDS_USED, _ENTRIES.dump_json(entries, indent=1))
        except StaleEpochError:
            return  # the next commit tells it
        except PipelineError as error:
            logger.warning("cannot write which thresholds are in use: %s", error)
            return
        self._num_written = len(self.of_this_run)
