"""A fake output folder: real Delta tables, real picture files, seeded numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import write_deltalake
from PIL import Image

from pipeline.output.metadata import RUN_FORMAT

THRESHOLDS = [0.8, 0.6]
GMACS_PER_EXIT = [1.0, 2.5, 5.0]
LABELS = [f"label {index:02d}" for index in range(25)]


@pytest.fixture
def tags(pictures: list[Path]) -> pa.Table:
    """Seeded tags that obey the exit rule; a skewed choice of labels."""
    num_images = 900
    random = np.random.default_rng(7)
    # The table holds float32; the rule is applied to what it holds.
    confidences = random.uniform(0.05, 1.0, (num_images, 3)).astype(np.float32)
    stages = np.where(
        confidences[:, 0] >= THRESHOLDS[0], 1, np.where(confidences[:, 1] >= THRESHOLDS[1], 2, 3)
    )
    label_ids = (random.random(num_images) ** 2 * len(LABELS)).astype(np.int32)
    rows = range(num_images)
    return pa.table(
        {
            "key": [f"set/{index:06d}.jpg" for index in random.permutation(num_images)],
            "uri": [
                pictures[i % len(pictures)].as_uri() if i % 2 else str(pictures[i % len(pictures)])
                for i in rows
            ],
            "label": [LABELS[label_id] for label_id in label_ids],
            "label_id": pa.array(label_ids),
            "groups": pa.array(
                [["even", "all"][label_id % 2 :] for label_id in label_ids], pa.list_(pa.string())
            ),
            "confidence": confidences[np.arange(num_images), stages - 1],
            "exit_stage": pa.array(stages, pa.int8()),
            "exit_confidences": pa.array(
                [confidences[i, : stages[i]].tolist() for i in rows], pa.list_(pa.float32())
            ),
            "gmacs": pa.array(np.array(GMACS_PER_EXIT)[stages - 1], pa.float32()),
            "shard": [f"s{i // 100}" for i in rows],
        }
    )


@pytest.fixture
def audited_tags(tags: pa.Table) -> pa.Table:
    """The same with every third image audited; at exits 1 and 2, every tenth of these differs."""
    deep = pa.array(
        [
            None if row % 3 else label + (stage < 3 and row % 30 == 0)
            for row, (label, stage) in enumerate(
                zip(tags["label_id"].to_pylist(), tags["exit_stage"].to_pylist(), strict=True)
            )
        ],
        pa.int32(),
    )
    agrees = pc.equal(tags["label_id"], deep)
    return tags.append_column("audit_label_id", deep).append_column("audit_agrees", agrees)


@pytest.fixture
def dead_letters() -> pa.Table:
    """Two in three are truncated, the others no image."""
    num_images = 40
    rows = range(num_images)
    return pa.table(
        {
            "key": [f"broken/{i:03d}.jpg" for i in rows],
            "uri": [f"/broken/{i:03d}.jpg" for i in rows],
            "reason": ["truncated" if i % 3 else "not_an_image" for i in rows],
            "detail": [f"byte {i} is the last" for i in rows],
            "attempts": pa.array([2] * num_images, pa.int32()),
            "shard": ["s0"] * num_images,
        }
    )


_SUMMARY: dict[str, Any] = {
    "tagged": 900,
    "dead_letters": 0,
    "other_files": 0,
    "skipped": 0,
    "exits": [1, 2, 897],
    "gmacs_per_image": 4.0,
    "gmacs_full_depth": 5.0,
    "out": "out",
}


def _run_json(audit: float | None = None, **changes: Any) -> dict[str, Any]:
    """A `run.json` as `dvt tag` writes it."""
    return {
        "format": RUN_FORMAT,
        "run": "b",
        "inputs": ["/archives/natural history/"],
        "model": {
            "name": "dvt_test",
            "digest": "sha256:abc",
            "num_classes": 25,
            "stages": ["4x4 tokens", "6x6 tokens", "8x8 tokens"],
            "gmacs_per_exit": GMACS_PER_EXIT,
        },
        "thresholds": THRESHOLDS,
        "dtype": "bfloat16",
        "versions": {"dvt": "0.1.0", "torch": "2.9.0"},
        "hardware": {"cpu": "a CPU", "num_cpus": 2, "gpus": []},
        "started_at": "2026-03-12T10:15:00+00:00",
        "settings": {"input": ["a"], "out": "out", "audit": audit},
        **changes,
    }


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three readable pictures in a folder whose name needs percent-encoding."""
    folder = tmp_path / "pictures with spaces & #"
    folder.mkdir()
    paths = []
    for index, color in enumerate(["red", "green", "blue"]):
        path = folder / f"{color}.png"
        Image.new("RGB", (40 + 100 * index, 60), color).save(path)
        paths.append(path)
    return paths


@pytest.fixture
def make_output(tmp_path: Path) -> Callable[..., Path]:
    """Writes an output folder; `_SUCCESS` only with a summary. Keywords change `run.json`."""

    def make(
        tags: pa.Table | None = None,
        dead_letters: pa.Table | None = None,
        shards: pa.Table | None = None,
        other_files: pa.Table | None = None,
        summary: dict[str, Any] | None = None,
        **run_changes: Any,
    ) -> Path:
        out = tmp_path / "out"
        out.mkdir()
        tables = {"tags": tags, "dead_letters": dead_letters}
        tables |= {"other_files": other_files, "shards": shards}
        for name, table in tables.items():
            if table is not None:
                # Several files, as a run leaves them.
                half = table.num_rows // 2
                write_deltalake(out / name, table.slice(0, half))
                write_deltalake(out / name, table.slice(half), mode="append")
        (out / "run.json").write_text(json.dumps(_run_json(**run_changes)))
        if summary is not None:
            (out / "summary.json").write_text(json.dumps(_SUMMARY | summary))
            (out / "_SUCCESS").touch()
        return out

    return make
