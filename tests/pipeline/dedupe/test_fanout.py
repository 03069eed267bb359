"""Copies in a run: their rows, their dead letters, and what is done again; real tables, no Ray."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.cascade.batches import Predictions
from pipeline.cascade.tag_rows import packed_answers, tag_rows
from pipeline.dedupe.fanout import SharedAnswers
from pipeline.errors import Reason
from pipeline.output.ledger import Ledger
from pipeline.output.parquet_files import UnwrittenFile, WrittenFile
from pipeline.output.results import Results
from pipeline.records import ImageRecord, info_table
from pipeline.scheduling import Origins
from pipeline.sources.base import NOTHING_KEPT
from pipeline.sources.sharding import Shard
from tests.command_line import rows
from tests.pipeline.output.tables import tables_in

LABELS = ("ant", "bee", "cat")
GMACS = (1.0, 3.0)
SAME, OTHER = b"s" * 16, b"o" * 16


class Held:
    """Stands for a reference to a table."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table


class World:
    """A run with two shards, of which the third and fourth image of the first are copies of `a`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(*tables_in(folder, 1), GMACS, "run")
        self.again: list[tuple[int, list[int]]] = []
        self.results = Results(self.ledger, 2, self.write, self.list_again)
        self.sharing = SharedAnswers(LABELS, NOTHING_KEPT, put=Held)
        self.sharing.join(self.ledger, self.results, self.list_again)
        self.shards = []
        for name in ("abcd", "x"):
            images = tuple(ImageRecord(key, f"file:///{key}", 1, etag=key) for key in name)
            self.shards.append(Shard(f"shard-{name}", images))
            self.ledger.open(self.shards[-1])

    def write(
        self,
        tables: list[Any],
        on_written: Callable[[WrittenFile | UnwrittenFile], None],
        on_tables_lost: Callable[[], None],
    ) -> None:
        on_written(self.ledger.tag_writer.write(pa.concat_tables([held.table for held in tables])))

    def list_again(self, shard: int, rows: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self.again.append((shard, rows.tolist()))

    def decode(self, shard: int, decoded: list[int], digests: list[bytes]) -> list[int]:
        every = np.arange(len(self.shards[shard].images))
        return [int(row) for row in self.sharing.decoded(shard, every, decoded, digests)]

    def answer(self, row: int, exit_stage: int) -> None:
        """As an actor answers one image of the first shard."""
        answers = Predictions(
            row_ids=np.array([0]),
            top_label_ids=np.array([[2, 0]]),
            top_scores=np.array([[0.75, 0.25]], dtype=np.float32),
            exit_stage=exit_stage,
            exit_confidences=np.full((1, exit_stage), 0.75, dtype=np.float32),
        )
        shard = self.shards[0]
        info = info_table([(shard.images[row], shard.name, 40, 30)], NOTHING_KEPT)
        table = tag_rows(answers, info, LABELS, GMACS[exit_stage - 1])
        origins = self.origins(row)
        self.results.add_answers(Held(table), origins, np.array([exit_stage]))
        self.sharing.answered(origins, packed_answers(answers, info))

    def origins(self, row: int) -> Origins:
        return Origins(np.array([0]), np.array([row]))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_copies_get_rows_of_their_own_with_the_same_answer_for_nothing(world: World) -> None:
    assert world.decode(0, [0, 1, 2, 3], [SAME, OTHER, SAME, SAME]) == [2, 3]
    world.answer(1, exit_stage=1)
    world.answer(0, exit_stage=2)
    assert world.decode(1, [0], [SAME]) == [0], "later ones in other shards as well"
    world.results.write_if_due(at_once=True)
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


def test_copies_of_an_image_on_which_the_model_fails_fail_with_it(world: World) -> None:
    world.decode(0, [0, 1, 2, 3], [SAME, OTHER, SAME, SAME])
    world.results.record_dead_letter(world.origins(0), Reason.MODEL_FAILED, "it raised", 1)
    world.sharing.failed(world.origins(0), Reason.MODEL_FAILED, "it raised", 1)
    world.results.write_if_due(at_once=True)
    letters = rows(world.folder / "dead_letters", "SELECT key, reason, detail FROM t ORDER BY key")
    assert letters == [
        {"key": key, "reason": "model_failed", "detail": "it raised"} for key in "acd"
    ]


def test_copies_of_a_file_that_cannot_be_read_again_are_done_again(world: World) -> None:
    world.decode(0, [0, 1, 2, 3], [SAME, OTHER, SAME, SAME])
    assert world.sharing.decoded(0, np.array([0, 1]), [1], [OTHER]).tolist() == []
    assert world.again == [(0, [2, 3])]
    assert world.sharing.decoded(0, np.array([2, 3]), [0, 1], [SAME, SAME]).tolist() == [1]


def test_copies_of_a_file_that_ends_its_decoders_are_done_again(world: World) -> None:
    world.decode(0, [0, 1, 2, 3], [SAME, OTHER, SAME, SAME])
    world.sharing.unread(world.origins(0))
    assert world.again == [(0, [2, 3])]
