"""Vectors computed elsewhere, joined to an index as a further space."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.made_up_tags import MadeUpOutput, made_up_keys
from jobs.index.update import update_index
from tests.command_line import dvt, succeeded

KEYS = made_up_keys(300)
VECTORS = np.random.default_rng(5).standard_normal((len(KEYS), 24)).astype(np.float32)


def nearest_keys(number: int) -> list[str]:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    order = np.argsort(-(unit @ unit[number]))
    return [KEYS[place] for place in order]


@pytest.fixture
def out(tmp_path: Path) -> MadeUpOutput:
    made_up = MadeUpOutput(tmp_path / "out")
    made_up.write(KEYS)
    return made_up


def write(folder: Path, form: str) -> str:
    """Writes the vectors in two files, with one key that no image has; returns FILES."""
    folder.mkdir()
    halves = [
        ([*KEYS[:100], "gone.jpg"], np.concatenate([VECTORS[:100], VECTORS[:1]])),
        (KEYS[100:], VECTORS[100:]),
    ]
    for number, (keys, vectors) in enumerate(halves):
        if form == "parquet":
            table = pa.table({"key": keys, "clip": vectors.tolist()})
            pq.write_table(table, folder / f"{number}.parquet")
            continue
        np.save(folder / f"{number}.npy", vectors.astype(np.float16))
        if form == "npy and txt":
            text = "".join(f"{key}\n" for key in keys)
            (folder / f"{number}.txt").write_text(text, encoding="utf-8")
        else:
            pq.write_table(pa.table({"key": keys}), folder / f"{number}.parquet")
    return f"{folder}/*"


@pytest.mark.parametrize("form", ["parquet", "npy and txt", "npy and parquet"])
def test_another_space_is_searched(tmp_path: Path, out: MadeUpOutput, form: str) -> None:
    index = tmp_path / "index"
    files = write(tmp_path / "vectors", form)
    call = ("index", out.folder, "--to", index, "--vectors", f"clip={files}", "--json")
    report = succeeded(dvt(*call)).json
    assert (report["vectors"], report["joined"]) == ({"embedding": 64, "clip": 24}, {"clip": 300})
    search = ("search", index, "--like", KEYS[7], "--space", "clip", "--top-k", 5, "--json")
    hits = succeeded(dvt(*search)).json["hits"]
    assert [hit["key"] for hit in hits] == nearest_keys(7)[:5]
    assert succeeded(dvt(*call)).json["written"] == 0
    out.remove([nearest_keys(7)[1]])
    out.write(KEYS[8:10], generation=1)
    out.write(made_up_keys(3, first=1000))
    assert update_index(out.folder, index, "lancedb").documents == 302
    hits = succeeded(dvt(*search)).json["hits"]
    expected = nearest_keys(7)
    assert [hit["key"] for hit in hits] == [expected[0], *expected[2:6]]


def test_wrong_vectors_are_one_line(tmp_path: Path, out: MadeUpOutput) -> None:
    write(tmp_path / "v", "npy and txt")
    update_index(out.folder, tmp_path / "index", "lancedb", vectors=[f"clip={tmp_path}/v/*"])
    np.save(tmp_path / "wide.npy", np.ones((2, 9), dtype=np.float32))
    (tmp_path / "wide.txt").write_text("a\nb\n", encoding="utf-8")
    np.save(tmp_path / "lone.npy", VECTORS)
    np.save(tmp_path / "few.npy", VECTORS)
    (tmp_path / "few.txt").write_text("a\nb\n", encoding="utf-8")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"name": ["a"], "v": [[1.0]]}), tmp_path / "nokey.parquet")
    cases: list[tuple[str, Any, str]] = [
        ("clip", "", "must be NAME=FILES"),
        ("embedding=", "wide.npy", "must be NAME=FILES"),
        ("clip=", "none*", "no .npy or .parquet file matches"),
        ("clip=", "wide.npy", "those of clip are 24 wide in"),
        ("x=", "lone.npy", "needs its keys in lone.txt or lone.parquet"),
        ("x=", "few.npy", "has 300 rows, but another number of keys"),
        ("x=", "bad.parquet", "cannot read"),
        ("x=", "nokey.parquet", "needs a column key and one column of vectors"),
    ]
    for name, file, message in cases:
        text = f"{name}{tmp_path / file}" if file else name
        done = dvt("index", out.folder, "--to", tmp_path / "index", "--vectors", text)
        assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
        assert message in done.err
    done = dvt("index", out.folder, "--to", tmp_path / "b", "--format", "opensearch", *call_of("x"))
    assert "only an index of the format lancedb" in done.err


def call_of(name: str) -> tuple[str, str]:
    return "--vectors", f"{name}=*"
