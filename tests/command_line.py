"""Runs the installed `dvt` as a person would, and reads its tables as a stranger would."""

import json
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

DVT = Path(sysconfig.get_path("scripts")) / "dvt"
# The model of drawn shapes: the archives of most tests are of these, the default model is not.
SHAPES = ("--model", "shapes")


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of standard output."""
        content = json.loads(self.out.strip().splitlines()[-1])
        assert isinstance(content, dict)
        return content


def dvt(*arguments: object, timeout_s: float = 280) -> Finished:
    done = subprocess.run(
        [DVT, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def committed_files(table: Path) -> list[str]:
    """Parquet files that the Delta log of a table lists, read without any Delta library."""
    files: dict[str, None] = {}
    for entry in sorted((table / "_delta_log").glob("*.json")):
        for line in entry.read_text(encoding="utf-8").splitlines():
            action = json.loads(line)
            if "add" in action:
                files[action["add"]["path"]] = None
            if "remove" in action:
                files.pop(action["remove"]["path"], None)
    return [str(table / name) for name in files]


def rows(table: Path, sql: str = "SELECT * FROM t") -> list[dict[str, Any]]:
    """Committed rows, by DuckDB; the table is called t."""
    files = committed_files(table)
    if not files:
        return []
    with duckdb.connect() as connection:
        relation = connection.read_parquet(files)
        relation.create_view("t")
        result = connection.execute(sql)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
