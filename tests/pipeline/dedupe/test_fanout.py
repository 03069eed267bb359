"""Rows, dead letters and restarts of copies; real tables, no Ray."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.cascade.batches import Predictions
from pipeline.cascade.tag_rows import TagClasses, pack_predictions, tag_rows
from pipeline.dedupe.fanout import PredictionFanout
from pipeline.errors import Reason
from pipeline.output.ledger import Ledger
from pipeline.output.results import Results
from pipeline.records import ImageRecord, info_table
from pipeline.scheduling import Origins
from pipeline.sources.base import NOTHING_KEPT
from pipeline.sources.sharding import Shard
from tests.command_line import rows
from tests.pipeline.output.tables import tables_in

CLASSES = TagClasses(("ant", "bee", "cat"), (0, 1, 2))
GMACS = (1.0, 3.0)
SAME, OTHER = b"s" * 16, b"o" * 16


class World:
    """A run with two shards; the third and fourth image of the first are copies of its first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(tables_in(folder, 1), GMACS, "run")
        self.results = Results(self.ledger, 2)
        self.fanout = PredictionFanout(
            self.ledger, self.results, CLASSES, NOTHING_KEPT, put=lambda table: table
        )
        self.shards = []
        for name in ("abcd", "x"):
            images = tuple(ImageRecord(key, f"file:///{key}", 1, etag=key) for key in name)
            self.shards.append(Shard(f"shard-{name}", images))
            self.ledger.open(self.shards[-1])

    def commit(self) -> None:
        if self.results.start_commit(at_once=True):
            tables = self.results.tables_in_progress
            file = self.ledger.tag_writer.write(pa.concat_tables(tables)) if tables else None
            self.results.commit(file)

    def decode(
        self, shard: int, rows: list[int], decoded: list[int], digests: list[bytes]
    ) -> tuple[list[int], list[tuple[int, list[int]]]]:
        """Positions to skip, and images to restart."""
        skipped, restarted = self.fanout.decoded(shard, np.array(rows), decoded, digests)
        return skipped.tolist(), [(number, chosen.tolist()) for number, chosen in restarted]

    def predict(self, row: int, exit_stage: int) -> None:
        """As an actor does for one image of the first shard."""
        predictions = Predictions(
            row_ids=np.array([0]),
            top_label_ids=np.array([[2, 0]]),
            top_scores=np.array([[0.75, 0.25]], dtype=np.float32),
            group_scores=np.empty((1, 0), dtype=np.float32),
            exit_stage=exit_stage,
            exit_confidences=np.full((1, exit_stage), 0.75, dtype=np.float32),
        )
        shard = self.shards[0]
        info = info_table([(shard.images[row], shard.name, (40, 30, None))], NOTHING_KEPT)
        table = tag_rows(predictions, info, CLASSES, GMACS[exit_stage - 1])
        origins = origin(row)
        self.results.add_predictions(table, origins, np.array([exit_stage]))
        self.fanout.predicted(origins, pack_predictions(predictions, info))


def origin(row: int) -> Origins:
    """An image of the first shard."""
    return Origins(np.array([0]), np.array([row]))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_copies_get_rows_of_their_own_with_the_same_prediction_at_no_cost(world: World) -> None:
    assert world.decode(0, [0, 1, 2, 3], [0, 1, 2, 3], [SAME, OTHER, SAME, SAME]) == ([2, 3], [])
    world.predict(1, exit_stage=1)
    world.predict(0, exit_stage=2)
    assert world.decode(1, [0], [0], [SAME]) == ([0], []), "a later copy, in another shard"
    world.commit()
    assert world.ledger.is_complete
    got = rows(world.folder / "tags", "SELECT * FROM t ORDER BY key")
    assert [(row["key"], row["gmacs"], row["exit_stage"]) for row in got] == [
        ("a", 3.0, 2),
        ("b", 1.0, 1),
        ("c", 0.0, 2),
        ("d", 0.0, 2),
        ("x", 0.0, 2),
    ]
    for row in got:
        assert row["uri"] == f"file:///{row['key']}"
        assert row["etag"] == row["key"]
        assert row["shard"] == ("shard-x" if row["key"] == "x" else "shard-abcd")
        assert (row["label"], row["label_id"], row["width"], row["height"]) == ("cat", 2, 40, 30)
    totals = world.ledger.totals.this_run
    assert (totals.num_tagged, totals.gmacs(np.array(GMACS))) == (5, 4.0)


def test_copies_of_an_image_on_which_the_model_fails_fail_too(world: World) -> None:
    world.decode(0, [0, 1, 2, 3], [0, 1, 2, 3], [SAME, OTHER, SAME, SAME])
    world.results.record_dead_letter(origin(0), Reason.MODEL_FAILED, "it raised", 1)
    world.fanout.failed(origin(0), "it raised", 1)
    world.commit()
    letters = rows(world.folder / "dead_letters", "SELECT key, reason, detail FROM t ORDER BY key")
    assert letters == [
        {"key": key, "reason": "model_failed", "detail": "it raised"} for key in "acd"
    ]


def test_copies_of_a_file_that_becomes_unreadable_are_restarted(world: World) -> None:
    world.decode(0, [0, 1, 2, 3], [0, 1, 2, 3], [SAME, OTHER, SAME, SAME])
    assert world.decode(0, [0, 1], [1], [OTHER]) == ([], [(0, [2, 3])])
    assert world.decode(0, [2, 3], [0, 1], [SAME, SAME]) == ([1], [])


def test_copies_of_a_file_that_kills_its_decoders_are_restarted(world: World) -> None:
    world.decode(0, [0, 1, 2, 3], [0, 1, 2, 3], [SAME, OTHER, SAME, SAME])
    ((shard, restarted),) = world.fanout.unreadable(origin(0))
    assert (shard, restarted.tolist()) == (0, [2, 3])
