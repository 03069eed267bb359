"""Predictions that are lost with their node, after their call and before their commit."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import dvt
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.output.results import Results
from pipeline.records import TAGS_SCHEMA, ImageRecord
from pipeline.runtime.actors.write import WriteActor
from pipeline.runtime.nodes import this_node
from pipeline.runtime.ray_session import running_ray
from pipeline.runtime.result_writer import ResultWriter
from pipeline.runtime.run_record import new_run_file
from pipeline.runtime.supervised_actor import ActorKind, InputLost
from pipeline.runtime.supervisor import ActorSupervisor
from pipeline.scheduling import Origins
from pipeline.settings import TagSettings
from pipeline.sources.sharding import Shard
from tests.command_line import rows
from tests.failures.cluster import running_cluster

NUM_IMAGES = 2000  # enough for a table in the node's object store, not in the driver's memory


def tags(first: int, stop: int) -> pa.Table:
    count = stop - first
    columns = {
        "key": [f"{number:06d}-{'x' * 100}" for number in range(first, stop)],
        "uri": ["file:///x"] * count,
        "label": ["circle"] * count,
        "label_id": [0] * count,
        "confidence": [1.0] * count,
        "top_labels": [["circle"]] * count,
        "top_scores": [[1.0]] * count,
        "groups": [None] * count,
        "group_scores": [None] * count,
        "exit_stage": [1] * count,
        "exit_confidences": [[1.0]] * count,
        "gmacs": [1.0] * count,
        "audit_label_id": [None] * count,
        "audit_confidence": [None] * count,
        "audit_agrees": [None] * count,
        "embedding": [None] * count,
        "width": [1] * count,
        "height": [1] * count,
        "decode_note": [None] * count,
        "etag": [None] * count,
        "shard": ["s"] * count,
    }
    return pa.table(columns, schema=TAGS_SCHEMA)


def test_their_images_restart_and_all_others_are_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dvt.load_model("shapes")
    output = Output(tmp_path / "out")
    settings = TagSettings(input=("a",), out=str(tmp_path / "out"), model="shapes")
    output.claim(new_run_file(settings, ("a",), model, model.thresholds()), overwrite=False)
    ledger = Ledger(output.tables(), model.spec.gmacs_per_exit, "test")
    keys = tags(0, NUM_IMAGES)["key"].to_pylist()
    number, _ = ledger.open(Shard("s", tuple(ImageRecord(key, "file:///x", 1) for key in keys)))
    results = Results(ledger, 3)
    half = NUM_IMAGES // 2
    inputs_lost = 0
    restarted: list[tuple[int, list[int]]] = []
    with running_cluster(workers=1, cpus_per_node=1) as cluster:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        with running_ray(1):
            make: Any = ray.remote(max_retries=0, num_cpus=1)(tags)
            doomed = make.remote(0, half)
            ray.wait([doomed], fetch_local=False)
            safe = ray.put(tags(half, NUM_IMAGES))
            here = NodeAffinitySchedulingStrategy(this_node(), soft=False)
            remote: Any = ray.remote(WriteActor).options(num_cpus=0, scheduling_strategy=here)
            supervisor = ActorSupervisor(stalled_s=60.0)
            kind = ActorKind("writer", lambda: remote.remote(ledger.tag_writer))
            writer = ResultWriter(kind, supervisor, results)
            for table, first in ((doomed, 0), (safe, half)):
                origins = Origins(np.full(half, number), np.arange(first, first + half))
                results.add_predictions(table, origins, np.ones(half, dtype=np.int64))
            cluster.kill_worker(0)
            writer.commit_if_due(at_once=True)
            while not results.are_committed:
                writer.commit_if_due(at_once=True)
                for event in supervisor.wait():
                    inputs_lost += isinstance(event, InputLost)
                    restarted += [(shard, list(rows)) for shard, rows in writer.handle(event)]
    assert inputs_lost == 1
    assert restarted == [(number, list(range(half)))]
    assert results.counts.num_tagged == half
    assert not ledger.is_complete, "the lost half is still to be done"
    committed = [row["key"] for row in rows(tmp_path / "out" / "tags", "SELECT key FROM t")]
    assert sorted(committed) == keys[half:]
    output.release()
