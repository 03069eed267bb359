"""`page`: writes tables and chart of the pages from the results; `--check` only compares.

A page has prose written by hand, and computed text between `<!-- begin NAME -->` and
`<!-- end NAME -->`. The chart carries the digest of its figures, so that an outdated one is found
without drawing it.
"""

import json
import re
from argparse import Namespace
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.evidence.card import CARD_BLOCKS
from benchmarks.evidence.plot import draw_curve
from benchmarks.evidence.results import read_results
from benchmarks.evidence.tables import BLOCKS, Block
from pipeline.errors import UsageError

__all__ = ["CHART", "PAGES", "filled", "page"]

PAGES: dict[str, Mapping[str, Block]] = {"evidence.md": BLOCKS, "cifar10.md": CARD_BLOCKS}
CHART = "evidence-curve.svg"

_BLOCK = re.compile(r"<!-- begin (?P<name>[\w-]+) -->\n.*?<!-- end (?P=name) -->", re.DOTALL)


def page(given: Namespace) -> None:
    """Updates what is out of date, or with `--check` only names it.

    Raises:
        UsageError: something is out of date under `--check`, or a page has an unknown block.
    """
    outdated = []
    for name, blocks in PAGES.items():
        path = given.docs / name
        old = path.read_text(encoding="utf-8")
        new = filled(old, blocks, given.results)
        if old != new:
            outdated.append(name)
            if not given.check:
                path.write_text(new, encoding="utf-8")
    figures = read_results(given.results, "curves")["schedules"]["short"]
    chart, digest = given.docs / CHART, _digest(figures)
    if not chart.is_file() or digest not in chart.read_text(encoding="utf-8"):
        outdated.append(CHART)
        if not given.check:
            draw_curve(figures, chart, digest)
    if given.check and outdated:
        raise UsageError(
            f"docs: out of date are {', '.join(outdated)}; run python -m benchmarks.evidence page"
        )
    print(json.dumps({"written": outdated}))


def filled(text: str, blocks: Mapping[str, Block], results: Path) -> str:
    """A page with its blocks computed from the results.

    Raises:
        UsageError: a block is unknown or missing.
    """
    named = [match["name"] for match in _BLOCK.finditer(text)]
    if sorted(named) != sorted(blocks):
        raise UsageError(
            f"docs: must have each of the blocks {', '.join(blocks)} once (got {', '.join(named)})"
        )

    def computed(match: re.Match[str]) -> str:
        name = match["name"]
        content = blocks[name].text(read_results(results, blocks[name].source))
        return f"<!-- begin {name} -->\n{content}\n<!-- end {name} -->"

    return _BLOCK.sub(computed, text)


def _digest(figures: Any) -> str:
    return sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()[:16]
