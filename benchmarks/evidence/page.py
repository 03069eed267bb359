"""`page`: tables and drawings of the pages, from the results; `--check` tells whether they are old.

A page has its prose written by a person, and between `<!-- begin NAME -->` and `<!-- end NAME -->`
what is computed. A drawing carries the digest of the figures that it shows, so that an old one is
found without drawing it again.
"""

import json
import re
from argparse import Namespace
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.evidence.card import CARD_BLOCKS
from benchmarks.evidence.plots import PLOTS
from benchmarks.evidence.results import read_results
from benchmarks.evidence.tables import BLOCKS, Block
from pipeline.errors import UsageError

__all__ = ["PAGES", "figures_digest", "filled", "page"]

PAGES: dict[str, Mapping[str, Block]] = {"evidence.md": BLOCKS, "cifar10.md": CARD_BLOCKS}

_BLOCK = re.compile(r"<!-- begin (?P<name>[\w-]+) -->\n.*?<!-- end (?P=name) -->", re.DOTALL)


def page(given: Namespace) -> None:
    """Writes what is old, or with `--check` only names it.

    Raises:
        UsageError: something is old and must not be written, or a page has an unknown block.
    """
    stale = []
    for name, blocks in PAGES.items():
        path = given.docs / name
        old = path.read_text(encoding="utf-8")
        new = filled(old, blocks, given.results)
        if old != new:
            stale.append(name)
            if not given.check:
                path.write_text(new, encoding="utf-8")
    for plot in PLOTS:
        results = read_results(given.results, plot.source)
        figures = None if results is None else plot.figures(results)
        path = given.docs / plot.file
        if figures is None or _has(path, figures_digest(figures)):
            continue
        stale.append(plot.file)
        if not given.check:
            plot.draw(figures, path, figures_digest(figures))
    if given.check and stale:
        raise UsageError(
            f"docs: stale are {', '.join(stale)}; run python -m benchmarks.evidence page"
        )
    print(json.dumps({"stale": [], "written": stale}))


def filled(text: str, blocks: Mapping[str, Block], results: Path) -> str:
    """The page with every block as the results have it.

    Raises:
        UsageError: a block that is not known, or one that is missing.
    """
    named = [match["name"] for match in _BLOCK.finditer(text)]
    if sorted(named) != sorted(blocks):
        raise UsageError(
            f"docs: must have each of the blocks {', '.join(blocks)} once (got {', '.join(named)})"
        )

    def computed(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- begin {name} -->\n{_text(blocks[name], results)}\n<!-- end {name} -->"

    return _BLOCK.sub(computed, text)


def _text(block: Block, folder: Path) -> str:
    results = read_results(folder, block.source)
    if results is None:
        return f"*Not measured yet: `python -m benchmarks.evidence {block.source}`.*"
    return block.text(results)


def figures_digest(figures: Any) -> str:
    """A name for exactly these figures."""
    return sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()[:16]


def _has(path: Path, digest: str) -> bool:
    return path.is_file() and f"figures {digest}" in path.read_text(encoding="utf-8")
