"""Arrays and Parquet files, searched with faiss."""

import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.made_up_tags import MadeUpOutput, made_up_keys
from jobs.index import update
from tests.command_line import dvt, rows, succeeded

KEYS = made_up_keys(700)


def test_faiss_finds_each_image_in_the_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "_ROWS_PER_RANGE", 300)
    monkeypatch.setattr(update, "_CHANGES_PER_RANGE", 300)
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS)
    call = ("index", out.folder, "--to", tmp_path / "index", "--format", "parquet-npy", "--json")
    assert succeeded(dvt(*call)).json["figures"]["files"] > 1
    check(tmp_path / "index", out)
    out.remove(KEYS[:100])
    out.write(KEYS[200:220], generation=1)
    succeeded(dvt(*call))
    check(tmp_path / "index", out)
    names = sorted(path.name for path in (tmp_path / "index").rglob("*_*.*"))
    assert succeeded(dvt(*call)).json["written"] == 0
    assert names == sorted(path.name for path in (tmp_path / "index").rglob("*_*.*"))


def test_an_output_made_anew_with_as_many_versions_is_written_anew(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:50])
    call = ("index", out.folder, "--to", tmp_path / "index", "--format", "parquet-npy")
    succeeded(dvt(*call))
    shutil.rmtree(out.folder)
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[50:90])
    succeeded(dvt(*call))
    check(tmp_path / "index", out)


def check(index: Path, out: MadeUpOutput) -> None:
    """Reads the layout as embedding tools do: files by number, rows side by side."""
    arrays: list[Any] = []
    tables: list[pa.Table] = []
    while (path := index / "img_emb" / f"img_emb_{len(arrays)}.npy").exists():
        arrays.append(np.load(path))
        tables.append(pq.read_table(index / "metadata" / f"metadata_{len(tables)}.parquet"))
        assert arrays[-1].dtype == np.float16
        assert len(arrays[-1]) == tables[-1].num_rows
    assert len(list((index / "img_emb").iterdir())) == len(arrays)
    vectors = np.concatenate(arrays).astype(np.float32)
    metadata = pa.concat_tables(tables)
    tags = {row["key"]: row for row in rows(out.folder / "tags")}
    assert metadata["key"].to_pylist() == sorted(tags)
    searched = faiss.IndexFlatIP(vectors.shape[1])
    searched.add(vectors)
    wanted = np.array([row["embedding"] for _, row in sorted(tags.items())], dtype=np.float32)
    _, found = searched.search(wanted, 1)
    assert found[:, 0].tolist() == list(range(len(tags)))
    assert metadata["image_path"][3].as_py() == tags[metadata["key"][3].as_py()]["uri"]
    assert metadata["caption"][3].as_py().startswith(tags[metadata["key"][3].as_py()]["label"])


def test_an_output_without_embeddings_is_refused(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out", width=0)
    out.write(KEYS[:5])
    done = dvt("index", out.folder, "--to", tmp_path / "index", "--format", "parquet-npy")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "needs embeddings" in done.err
