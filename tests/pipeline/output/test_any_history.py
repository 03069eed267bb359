"""Any history of runs, changes of the archive and kills ends in an output that is right.

Runs are those of `fake_tagging.py`. Each may be killed at any of its writes, commits and deletions.
"""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Reason
from pipeline.output.layout import Output
from pipeline.output.tables import COUNT_COLUMNS
from pipeline.output.verify import verify_output
from pipeline.records import ImageRecord
from pipeline.sources.sharding import Shard, cut_shards
from tests.command_line import rows as rows_by_duckdb
from tests.pipeline.output.fake_tagging import confidence_of, run_job
from tests.pipeline.output.killing import Killed, end_lease, killed_at

NAMES = tuple(f"{letter}{(3 * n) % 10}" for n, letter in enumerate("abcdefghijklmnop"))
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
IS_NIGHT = settings().max_examples >= 300

Kind = Literal["tag", "retry", "stricter", "overwrite", "add", "change", "turn", "remove"]
IS_OTHER = 3  # versions of a file from here on are no picture


@dataclass(frozen=True)
class Step:
    """A run, or a change of the archive; `kill_at` is the operation that a run dies at."""

    kind: Kind
    number: int
    kill_at: int | None


@dataclass
class History:
    """An output, its archive, and what was seen of its tables."""

    folder: Path
    etags: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES[:9], 0))
    level: int = 0
    num_runs: int = 0
    num_seen: dict[str, int] = field(default_factory=dict)
    files: dict[str, set[str]] = field(default_factory=dict)
    keys_of_file: dict[str, list[str]] = field(default_factory=dict)

    def shards(self) -> list[Shard]:
        images = [ImageRecord(key, f"file:///{key}", 1, f"e{e}") for key, e in self.etags.items()]
        images.sort(key=lambda image: image.key)
        return list(cut_shards(images, mean_length=10**9, max_length=4))

    def dead(self) -> set[str]:
        """Differs from run to run, as with a storage that fails now and then."""
        return {key for n, key in enumerate(NAMES) if (n + self.num_runs) % 5 == 0}

    def others(self) -> set[str]:
        """Files that are no pictures now."""
        return {key for key, etag in self.etags.items() if etag >= IS_OTHER}

    def apply(self, step: Step) -> None:
        key = NAMES[step.number % len(NAMES)]
        match step.kind:
            case "add":
                self.etags.setdefault(key, step.number % (2 * IS_OTHER))
            case "change" if key in self.etags:
                # Values return, so that an archive may change back.
                kind, version = divmod(self.etags[key], IS_OTHER)
                self.etags[key] = IS_OTHER * kind + (version + 1 + step.number % 2) % IS_OTHER
            case "turn" if key in self.etags:
                # From a picture into another file and back, to one of three versions of each.
                version = (self.etags[key] + step.number) % IS_OTHER
                self.etags[key] = version + IS_OTHER * (self.etags[key] < IS_OTHER)
            case "remove" if len(self.etags) > 1:
                self.etags.pop(key, None)
            case "stricter":
                self.level = min(self.level + 1, len(THRESHOLDS) - 1)
                self.run(step)
            case "tag" | "retry" | "overwrite":
                self.run(step)

    def run(self, step: Step) -> None:
        self.num_runs += 1
        threshold, retry = THRESHOLDS[self.level], None
        if step.kind == "retry":
            if not (self.folder / "run.json").exists():
                return
            retry = (Reason.FETCH_FAILED,) if step.number % 3 else (Reason.TRUNCATED,)
            (threshold,) = Output(self.folder).run_file().thresholds
        with killed_at(10**9 if step.kill_at is None else step.kill_at):
            try:
                run_job(
                    self.folder,
                    self.shards(),
                    threshold,
                    f"run {self.num_runs}",
                    self.dead(),
                    retry,
                    step.kind == "overwrite",
                    self.others(),
                )
            except Killed:
                end_lease(self.folder)
        for name in COUNT_COLUMNS:
            self.replay(name)

    def replay(self, name: str) -> None:
        """No version of a table has a key twice."""
        logs = sorted((self.folder / name / "_delta_log").glob("*.json"))
        files = self.files.setdefault(name, set())
        for log in logs[self.num_seen.get(name, 0) :]:
            actions = [json.loads(line) for line in log.read_text().splitlines()]
            for action in actions:
                if "remove" in action:
                    files.discard(action["remove"]["path"])
                if "add" in action:
                    files.add(action["add"]["path"])
            for file in files - self.keys_of_file.keys():
                rows = pq.read_table(self.folder / name / file, columns=["key"])
                self.keys_of_file[file] = rows["key"].to_pylist()
            keys = [key for file in files for key in self.keys_of_file[file]]
            assert len(keys) == len(set(keys)), f"{name}, {log.name}: {sorted(keys)}"
        self.num_seen[name] = len(logs)

    def check(self) -> None:
        """A calm run makes everything right."""
        self.run(Step("tag", 0, None))
        assert verify_output(self.folder).problems == ()
        assert (self.folder / "_SUCCESS").exists()
        tables = {
            name: {row["key"]: row for row in rows_by_duckdb(self.folder / name)}
            for name in COUNT_COLUMNS
        }
        for key, etag in self.etags.items():
            (name,) = (name for name, rows in tables.items() if key in rows)
            row = tables[name][key]
            assert row["etag"] == f"e{etag}", key
            if name != "dead_letters":
                assert (name == "other_files") == (etag >= IS_OTHER), key
            if name == "tags" and row["exit_stage"] == 1:
                assert confidence_of(key) >= THRESHOLDS[self.level], key
        summary = json.loads((self.folder / "summary.json").read_bytes())
        assert summary["images"] == len(self.etags)
        for column, name in (("tagged", "tags"), *((name, name) for name in list(tables)[1:])):
            assert summary[column] == len(self.etags.keys() & tables[name].keys()), column


STEPS = st.builds(
    Step,
    kind=st.sampled_from(
        (
            *("tag", "tag", "tag", "retry", "stricter", "overwrite"),
            *("add", "add", "change", "turn", "turn", "remove"),
        )
    ),
    number=st.integers(0, 47),
    kill_at=st.none() | st.integers(0, 90),
)


@pytest.mark.timeout(7200 if IS_NIGHT else 300)  # a second or more each
@settings(max_examples=1000 if IS_NIGHT else 30)
@given(st.lists(STEPS, min_size=2, max_size=7))
def test_after_any_history_one_calm_run_makes_the_output_right(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder) / "out")
        for step in steps:
            history.apply(step)
        history.check()
