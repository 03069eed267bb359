"""Runs `dvt` as a person does, and reads its tables without its code."""

import contextlib
import io
import json
import logging
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from jobs import cli

DVT = Path(sysconfig.get_path("scripts")) / "dvt"
SHAPES = ("--model", "shapes")  # most archives in tests are drawn shapes


@dataclass(frozen=True)
class Finished:
    """The outcome of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of standard output."""
        content = json.loads(self.out.strip().splitlines()[-1])
        assert isinstance(content, dict)
        return content


def dvt(*arguments: object) -> Finished:
    """A command in this process; one that needs Ray joins the session's, see `ray_session`."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run([str(argument) for argument in arguments])
    finally:  # the command has replaced pytest's
        root.handlers[:] = handlers
        root.setLevel(level)
    return Finished(code, out.getvalue(), err.getvalue())


def dvt_process(*arguments: object, timeout_s: float = 280) -> Finished:
    """A command in a process of its own, where its start, its end or its own Ray matters."""
    done = subprocess.run(
        [DVT, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def succeeded(done: Finished) -> Finished:
    """The outcome of a command that must not fail."""
    assert done.code == 0, done.err
    return done


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


def differing_rows(table: Path, other: Path) -> int:
    """Committed rows that are in one of two tables only."""
    with duckdb.connect() as connection:
        for name, folder in (("a", table), ("b", other)):
            connection.read_parquet(committed_files(folder)).create_view(name)
        found = connection.execute(
            "SELECT count(*) FROM ((FROM a EXCEPT ALL FROM b) UNION ALL (FROM b EXCEPT ALL FROM a))"
        ).fetchall()
    return int(found[0][0])


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
