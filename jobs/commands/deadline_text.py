"""What became of a deadline, as lines for a person."""

import logging

from pipeline.output.metadata import Summary, thresholds_text
from pipeline.units import duration_text

__all__ = ["deadline_lines"]

logger = logging.getLogger(__name__)

_LATE = 1.05


def deadline_lines(summary: Summary) -> tuple[str, ...]:
    """When it ended, and how far the thresholds moved; nothing for a run without a deadline."""
    outcome = summary.deadline
    if outcome is None:
        return ()
    asked, ended = duration_text(outcome.deadline_s), duration_text(outcome.ended_s)
    line = f"deadline {asked}: ended after {ended}"
    if outcome.safest is not None and outcome.loosest is not None:
        if outcome.moves:
            times = "once" if outcome.moves == 1 else f"{outcome.moves:,} times"
            line += (
                f"; thresholds moved {times} between {thresholds_text(outcome.safest)} and "
                f"{thresholds_text(outcome.loosest)}"
            )
        else:
            line += f"; thresholds stayed at {thresholds_text(outcome.safest)}"
    if outcome.ended_s <= _LATE * outcome.deadline_s:
        return (line,)
    missed = "the deadline was missed"
    if outcome.loosest == outcome.loosest_allowed:
        loosest = thresholds_text(outcome.loosest_allowed)
        missed += f", though thresholds went down to the loosest allowed, {loosest}"
    logger.warning("%s", missed)
    return (line, missed)
