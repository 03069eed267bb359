"""Bulk files for OpenSearch and Elasticsearch, loaded by a strict parser."""

import gzip
import json
import shutil
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.made_up_tags import MadeUpOutput, made_up_keys
from jobs.index import bulk_target, update
from jobs.index.bulk_target import BulkTarget, document_id
from jobs.index.state import VectorSpace
from jobs.index.target import DocumentChanges, UpdateMode
from pipeline.storage import open_output_store
from tests.command_line import dvt, rows, succeeded
from tests.jobs.index.bulk_parser import load

KEYS = [*made_up_keys(900), 'strange/\u2028line\n"quoted"\\ñ\U0001f436.jpg', "long/" + "ä" * 400]


def loaded(index: Path, documents: dict[str, dict[str, Any]], skip: Sequence[str] = ()) -> int:
    mapping = json.loads((index / "index-body.json").read_text(encoding="utf-8"))["mappings"]
    files = sorted(path for path in index.glob("bulk-*.ndjson.gz") if path.name not in skip)
    return sum(load(gzip.decompress(path.read_bytes()), mapping, documents) for path in files)


def assert_equal(documents: dict[str, dict[str, Any]], out: MadeUpOutput) -> None:
    tags = rows(out.folder / "tags")
    assert len(documents) == len(tags)
    for row in tags:
        document = documents[document_id(row["key"])]
        assert (document["key"], document["label"]) == (row["key"], row["label"])
        assert document["confidence"] == pytest.approx(row["confidence"], abs=1e-6)
        assert document["vector"] == pytest.approx(row["embedding"], abs=1e-3)
        assert document["words"] == [row["label"], *row["groups"]]
        assert document["camera"] == row["camera"]


@pytest.mark.parametrize("engine", ["opensearch", "elasticsearch"])
def test_files_load_and_follow_the_output(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "_ROWS_PER_RANGE", 400)
    monkeypatch.setattr(update, "_CHANGES_PER_RANGE", 200)
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS)
    index = tmp_path / "index"
    call = ("index", out.folder, "--to", index, "--format", engine, "--json")
    first = succeeded(dvt(*call)).json
    assert (first["written"], first["documents"]) == (len(KEYS), None)
    documents: dict[str, dict[str, Any]] = {}
    assert loaded(index, documents) == len(KEYS)
    assert_equal(documents, out)
    assert loaded(index, documents) == len(KEYS)
    assert_equal(documents, out)
    seen = [path.name for path in index.glob("bulk-*")]
    out.write(KEYS[100:150], generation=1)
    out.remove(KEYS[:30] + KEYS[-1:])
    second = succeeded(dvt(*call)).json
    assert (second["written"], second["removed"]) == (50, 31)
    assert loaded(index, documents, skip=seen) == 81
    assert_equal(documents, out)
    again: dict[str, dict[str, Any]] = {}
    loaded(index, again)
    assert again == documents


def test_mappings_are_those_of_each_engine(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out", width=48)
    out.write(KEYS[:10])
    bodies = {}
    for engine in ("opensearch", "elasticsearch"):
        to = tmp_path / engine
        succeeded(dvt("index", out.folder, "--to", to, "--format", engine))
        bodies[engine] = json.loads((to / "index-body.json").read_text(encoding="utf-8"))
    assert bodies["opensearch"]["settings"]["index"] == {"knn": True}
    assert bodies["opensearch"]["mappings"]["properties"]["vector"] == {
        "type": "knn_vector",
        "dimension": 48,
        "space_type": "cosinesimil",
        "mode": "on_disk",
        "compression_level": "16x",
    }
    assert "index" not in bodies["elasticsearch"]["settings"]
    assert bodies["elasticsearch"]["mappings"]["properties"]["vector"] == {
        "type": "dense_vector",
        "dims": 48,
        "index": True,
        "similarity": "cosine",
        "index_options": {"type": "int8_hnsw"},
    }
    for body in bodies.values():
        assert body["mappings"]["dynamic"] == "strict"
        assert body["mappings"]["properties"]["groups"]["type"] == "keyword"


def test_files_have_the_size_of_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_target, "_MAX_BYTES", 14_000)
    out = MadeUpOutput(tmp_path / "out", width=16)
    out.write(KEYS)
    succeeded(dvt("index", out.folder, "--to", tmp_path / "i", "--format", "opensearch"))
    sizes = [
        len(gzip.decompress(path.read_bytes())) for path in sorted((tmp_path / "i").glob("bulk-*"))
    ]
    assert len(sizes) > 20
    assert max(sizes) <= 14_000
    assert min(sizes[:-1]) >= 5_000


def test_few_rows_of_a_range_are_python_objects_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_target, "_MAX_BYTES", 200_000)
    monkeypatch.setattr(bulk_target, "_SLICE_ROWS", 500)
    num_rows, width = 4000, 32
    values = np.random.default_rng(0).standard_normal(num_rows * width).astype(np.float16)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values), width)
    table = pa.table({"key": made_up_keys(num_rows), "vector": vectors})
    target = BulkTarget(
        open_output_store(tmp_path),
        "opensearch",
        table.schema,
        {"embedding": VectorSpace(width=width)},
    )
    changes = DocumentChanges(
        UpdateMode.FILL, 1, 0, False, None, None, table, pa.array([], pa.string())
    )
    tracemalloc.start()
    try:
        target.apply(changes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(list(tmp_path.glob("bulk-*"))) > 5
    assert peak < 3 * 10**6  # all vectors as Python numbers take 4 MB


def test_a_version_that_is_gone_needs_overwrite(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:50])
    call = ("index", out.folder, "--to", tmp_path / "index", "--format", "opensearch")
    succeeded(dvt(*call))
    gone = out.tags.log.file_names()
    out.remove(KEYS[:5])
    out.tags.store.delete(gone)
    for _ in range(2):
        done = dvt(*call)
        assert done.code == 2
        assert "--overwrite writes all documents anew" in done.err
    succeeded(dvt(*call, "--overwrite"))
    documents: dict[str, dict[str, Any]] = {}
    assert loaded(tmp_path / "index", documents) == 45
    done = dvt("index", out.folder, "--to", tmp_path / "index")
    assert "is an index of the format opensearch" in done.err


def test_an_output_that_was_made_anew_is_refused_each_time(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:50])
    call = ("index", out.folder, "--to", tmp_path / "index", "--format", "opensearch")
    succeeded(dvt(*call))
    shutil.rmtree(out.folder)
    MadeUpOutput(tmp_path / "out").write(KEYS[50:90])
    for _ in range(2):
        done = dvt(*call)
        assert (done.code, len(done.err.splitlines())) == (2, 1)
        assert "--overwrite writes all documents anew" in done.err
    succeeded(dvt(*call, "--overwrite"))
    documents: dict[str, dict[str, Any]] = {}
    assert loaded(tmp_path / "index", documents) == 40
