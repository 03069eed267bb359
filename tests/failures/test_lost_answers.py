"""Answers that go with their node after their call and before their commit."""

from collections.abc import Callable
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
from pipeline.runtime.ray_errors import Loss, loss_of
from pipeline.runtime.ray_session import running_ray
from pipeline.runtime.run_record import new_run_file
from pipeline.scheduling import Origins
from pipeline.settings import TagSettings
from pipeline.sources.sharding import Shard
from tests.command_line import rows
from tests.failures.cluster import running_cluster

NUM_IMAGES = 2000  # enough for a table that lies in the node's store, not in the driver's memory


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
        "exit_stage": [1] * count,
        "exit_confidences": [[1.0]] * count,
        "gmacs": [1.0] * count,
        "audit_label_id": [None] * count,
        "audit_confidence": [None] * count,
        "width": [1] * count,
        "height": [1] * count,
        "etag": [None] * count,
        "shard": ["s"] * count,
    }
    return pa.table(columns, schema=TAGS_SCHEMA)


def test_their_images_start_again_and_all_others_are_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dvt.load_model("shapes")
    output = Output(tmp_path / "out")
    settings = TagSettings(input=("a",), out=str(tmp_path / "out"), model="shapes")
    output.claim(new_run_file(settings, ("a",), model, model.thresholds()), overwrite=False)
    ledger = Ledger(*output.tables(), dvt.gmacs_per_exit(model.config), "test")
    keys = tags(0, NUM_IMAGES)["key"].to_pylist()
    number, _ = ledger.open(Shard("s", tuple(ImageRecord(key, "file:///x", 1) for key in keys)))
    listed_again: list[tuple[int, list[int]]] = []
    losses: list[Loss] = []
    with running_cluster(workers=1, cpus_per_node=1) as cluster:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        with running_ray(1):
            make: Any = ray.remote(max_retries=0, num_cpus=1)(tags)
            doomed = make.remote(0, NUM_IMAGES // 2)
            ray.wait([doomed], fetch_local=False)
            safe = ray.put(tags(NUM_IMAGES // 2, NUM_IMAGES))
            here = NodeAffinitySchedulingStrategy(this_node(), soft=False)
            remote: Any = ray.remote(WriteActor).options(num_cpus=0, scheduling_strategy=here)
            writer = remote.remote(ledger.tag_writer)
            ray.get(writer.reset.remote())

            def write(
                tables: list[Any],
                on_written: Callable[[Any], None],
                on_tables_lost: Callable[[], None],
            ) -> None:
                try:
                    file = ray.get(writer.write.remote(*tables))
                except ray.exceptions.RayError as error:
                    losses.append(loss_of(error))
                    on_tables_lost()
                else:
                    on_written(file)

            results = Results(
                ledger,
                3,
                write,
                lambda shard, rows: listed_again.append((shard, rows.tolist())),
            )
            half = NUM_IMAGES // 2
            for table, first in ((doomed, 0), (safe, half)):
                places = np.arange(first, first + half)
                origins = Origins(np.full(half, number), places)
                results.add_answers(table, origins, np.ones(half, dtype=np.int64))
            cluster.kill_worker(0)
            results.write_if_due(at_once=True)
            assert results.are_committed
            assert results.answered.num_tagged == half
    assert losses == [Loss.INPUT]
    assert listed_again == [(number, list(range(half)))]
    assert not ledger.is_complete, "the lost half is still to be done"
    committed = [row["key"] for row in rows(tmp_path / "out" / "tags", "SELECT key FROM t")]
    assert sorted(committed) == keys[half:]
    output.release()
