"""Import rules: the packages, the rooms of `pipeline/`, the commands, foreign libraries.

The order of the rooms is the drawing in docs/architecture.md: a room imports from the lines below
its own, and from itself.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dvt", "pipeline", "jobs")  # each imports from those before it

FOREIGN = {
    "dvt": {"ray", "boto3", "botocore", "click", "deltalake", "pyarrow"},
    "pipeline": {"click", "rich"},
    "jobs": set[str](),
}


@cache
def drawing() -> dict[str, int]:
    """Line of each room in the drawing of the rooms, counted from the top."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = text.partition("## The rooms")[2].split("```")[1]
    return {
        room: number
        for number, line in enumerate(block.splitlines())
        for room in re.findall(r"(\w+)(?:\.py|/)(?=\s|$)", line)
    }


def imports(source: str, module: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: len(module.split(".")) - node.level + is_package]
            origin = ".".join([*(base if node.level else []), *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"


def problem(module: str, imported: str) -> str | None:
    """Why `module` may not import that name; None where it may."""
    package, *rooms = module.split(".")
    other, *other_rooms = imported.split(".")
    if other in FOREIGN[package]:
        return f"{package} does without {other}"
    if other in PACKAGES and PACKAGES.index(other) > PACKAGES.index(package):
        return f"{package} lies below {other}"
    if not rooms or not other_rooms or package != other:
        return None
    room, other_room = rooms[0], other_rooms[0]
    if package == "pipeline" and room != other_room:
        lies_below = drawing().get(other_room, -1) > drawing()[room]
        return None if lies_below else f"{room} does not lie above {other_room}"
    if package == "jobs" and other_room == "commands" and room not in {"commands", "cli"}:
        return "only the command line imports commands"
    return None


def wrong_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    """Lines such as `pipeline.records:3 imports pipeline.job: records does not lie above job`."""
    return [
        f"{module}:{line} imports {name}: {why}"
        for line, name in imports(source, module, is_package)
        if (why := problem(module, name))
    ]


def test_every_module_imports_only_what_lies_below_it() -> None:
    wrong = []
    for package in PACKAGES:
        files = list((ROOT / package).rglob("*.py"))
        assert files
        for file in files:
            parts = file.relative_to(ROOT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            module = ".".join(parts[:-1] if is_package else parts)
            wrong += wrong_imports(file.read_text(encoding="utf-8"), module, is_package)
    assert wrong == []


def test_the_drawing_has_every_room_of_the_pipeline_and_no_other() -> None:
    found = {
        path.stem
        for path in (ROOT / "pipeline").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set(drawing()) == found - {"__init__"}


@pytest.mark.parametrize(
    ("module", "source", "name"),
    [
        ("dvt.cascade", "import boto3.session", "boto3.session"),
        ("dvt.cascade", "def late():\n    from ray import data", "ray.data"),
        ("dvt.cascade", "from pipeline import settings", "pipeline.settings"),
        ("pipeline.job", "import numpy, click.testing", "click.testing"),
        ("pipeline.job", "from jobs.commands import tag", "jobs.commands.tag"),
        ("pipeline.records", "from pipeline import job", "pipeline.job"),
        ("pipeline.records", "from .output.ledger import Ledger", "pipeline.output.ledger.Ledger"),
        ("pipeline.output.lease", "from ..runtime import nodes", "pipeline.runtime.nodes"),
        ("pipeline.output.lease", "from pipeline import Cascade", "pipeline.Cascade"),
        ("pipeline.sources.tar", "import pipeline.cascade.runner", "pipeline.cascade.runner"),
        ("jobs.report.page", "from jobs.commands.tag import TagJob", "jobs.commands.tag.TagJob"),
    ],
)
def test_a_wrong_import_is_found_in_any_form(module: str, source: str, name: str) -> None:
    (line,) = wrong_imports(source, module)
    assert f"imports {name}: " in line


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dvt.cascade", "import raytracing, torch"),
        ("pipeline.job", "from pipeline.runtime.launch import run_on_ray"),
        ("pipeline.output.lease", "from . import layout"),
        ("jobs.cli", "from jobs.commands import tag"),
        ("jobs.commands.demo", "import click, ray\nfrom jobs.commands.tag import TagJob"),
    ],
)
def test_a_right_import_is_not(module: str, source: str) -> None:
    assert wrong_imports(source, module) == []


def test_import_dvt_loads_neither_the_engine_nor_its_libraries() -> None:
    """In a fresh interpreter; this one has loaded them all."""
    code = "import sys, dvt; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert "dvt" in loaded
    assert loaded & (FOREIGN["dvt"] | {"pipeline", "jobs"}) == set()
