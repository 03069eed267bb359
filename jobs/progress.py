"""Shows progress on standard error: a live line on a terminal, log lines elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.progress import Progress, ProgressListener
from pipeline.units import counted

__all__ = ["progress_line", "rows_line", "shown_line", "shown_progress"]

logger = logging.getLogger(__name__)

_LOG_EVERY_S = 10.0


def progress_line(progress: Progress) -> str:
    """Images, throughput, share of each exit, dead letters, other files, and remaining time."""
    total = "?" if progress.num_images is None else f"{progress.num_images:,}"
    parts = [f"{progress.num_done:,} of {total} images", f"{progress.images_per_second:,.0f}/s"]
    if any(progress.exits):
        shares = " / ".join(f"{100 * n / progress.num_tagged:.0f} %" for n in progress.exits)
        parts.append(f"exits {shares}")
    if progress.num_dead_letters:
        parts.append(counted(progress.num_dead_letters, "dead letter"))
    if progress.num_other_files:
        parts.append(counted(progress.num_other_files, "other file"))
    if progress.seconds_left is not None:
        parts.append(f"{_clock(progress.seconds_left)} left")
    return " · ".join(parts)


def _clock(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"


def rows_line(num_rows: int, total: int | None, elapsed_s: float) -> str:
    """Rows read, throughput, and remaining time where the total is known."""
    rate = num_rows / elapsed_s if elapsed_s > 0 else 0.0
    parts = [f"{num_rows:,}" + (f" of {total:,}" if total else "") + " rows", f"{rate:,.0f}/s"]
    if total and rate:
        parts.append(f"{_clock(max(0, total - num_rows) / rate)} left")
    return " · ".join(parts)


@contextmanager
def shown_progress() -> Iterator[ProgressListener]:
    """A listener that shows the progress of a run until the `with` block ends."""
    with shown_line() as show:
        yield lambda progress: show(progress_line(progress))


@contextmanager
def shown_line() -> Iterator[Callable[[str], None]]:
    """A function that shows a line of progress, until the `with` block ends."""
    stream = sys.stderr
    if not stream.isatty():
        yield _LogLines()
        return
    console = Console(file=stream, soft_wrap=True)
    with Live(Text("starting"), console=console, transient=True, refresh_per_second=5) as live:
        yield lambda line: live.update(Text(line))


class _LogLines:
    """Logs one line every ten seconds, the first after one second."""

    def __init__(self) -> None:
        self._next = time.monotonic() + 1.0

    def __call__(self, line: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOG_EVERY_S
            logger.info(line)
