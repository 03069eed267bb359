"""Hits as a table for the terminal."""

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.search.engine import Found
from pipeline.logs import visible

__all__ = ["WEAK_LINE", "hit_lines"]

WEAK_LINE = "weak from here"


def hit_lines(found: Found, width: int) -> tuple[str, ...]:
    """The lines of a table, best hit first, with a line where weak hits begin.

    Args:
        found: the result of a search.
        width: of the terminal, in characters.
    """
    if not found.hits:
        return ("nothing found",)
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    table.add_column("image", overflow="fold")
    table.add_column("label", overflow="fold")
    table.add_column("confidence", justify="right")
    table.add_column("why", overflow="fold")
    for number, hit in enumerate(found.hits):
        if number == found.weak_from:
            table.add_row("", "", f"-- {WEAK_LINE} --", "", "", "")
        table.add_row(
            str(number + 1),
            f"{hit.score:.2f}",
            Text(visible(hit.key)),
            Text(visible(hit.label or "")),
            f"{hit.confidence:.2f}",
            Text(visible(", ".join(hit.reasons))),
        )
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True, highlight=False).print(table)
    return tuple(line.rstrip() for line in stream.getvalue().splitlines())
