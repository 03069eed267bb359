"""Imports go one way, jobs -> pipeline -> dvt, and `import dvt` stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FORBIDDEN = {
    "dvt": {"pipeline", "jobs", "ray", "boto3", "botocore", "click"},
    "pipeline": {"jobs", "click"},
    "jobs": set[str](),
}
FILES = sorted(file for package in FORBIDDEN for file in (ROOT / package).rglob("*.py"))


def imported_packages(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and top-level package of each import, wherever it stands in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            is_relative = node.level > 0
            yield node.lineno, package if is_relative else str(node.module).partition(".")[0]


def violations(source: str, package: str) -> list[str]:
    """Return `line 3: pipeline imports click` for each import that points the wrong way."""
    return [
        f"line {line}: {package} imports {name}"
        for line, name in imported_packages(source, package)
        if name in FORBIDDEN[package]
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_file_imports_only_what_lies_below_it(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    assert violations(file.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize("package", FORBIDDEN)
def test_every_package_was_looked_at(package: str) -> None:
    assert any(file.relative_to(ROOT).parts[0] == package for file in FILES)


def test_the_check_finds_a_wrong_import_in_any_form() -> None:
    source = """
import numpy, click.testing
from jobs.cli import main
from . import jobs
import clickhouse
def late():
    from jobs.commands import tag
"""
    assert violations(source, "pipeline") == [
        "line 2: pipeline imports click",
        "line 3: pipeline imports jobs",
        "line 7: pipeline imports jobs",
    ]
    assert violations(source, "jobs") == []


def test_import_dvt_loads_neither_the_engine_nor_its_libraries() -> None:
    """A fresh interpreter, because this one has imported the rest long ago."""
    code = "import sys, dvt; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    assert "dvt" in loaded
    assert loaded & FORBIDDEN["dvt"] == set()
