"""`dvt tag --embeddings`: vectors beside the tags, also added to an output that has none."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.command_line import SHAPES, committed_files, dvt, rows, succeeded
from tests.ray_session import Tagged

_OTHERS = "SELECT * EXCLUDE (embedding) FROM t ORDER BY key"


@pytest.mark.usefixtures("ray_session")
def test_embeddings_are_added_to_finished_tags_and_nothing_else_changes(
    tagged: Tagged, tmp_path: Path
) -> None:
    out = shutil.copytree(tagged.out, tmp_path / "out")
    before = rows(out / "tags", _OTHERS)
    command = ("tag", *SHAPES, tagged.archive.images, "--out", out, "--json")
    added = succeeded(dvt(*command, "--embeddings")).json
    assert (added["tagged"], added["retagged"]) == (len(before), len(before))
    assert rows(out / "tags", _OTHERS) == before
    found = rows(out / "tags", "SELECT key, embedding FROM t ORDER BY key")
    vectors = np.array([row["embedding"] for row in found], dtype=np.float32)
    assert vectors.shape[1] == 96
    assert np.array_equal(vectors, vectors.astype(np.float16))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
    # Neighbours in this space look alike: most have the same label.
    labels = np.array([row["label"] for row in before])
    sample = np.arange(0, len(labels), 25)
    similarity = vectors[sample] @ vectors.T
    similarity[np.arange(len(sample)), sample] = -1
    nearest = similarity.argmax(axis=1)
    assert (labels[nearest] == labels[sample]).mean() > 0.8
    field = pq.read_schema(committed_files(out / "tags")[0]).field("embedding")
    assert field.metadata is None or b"dvt.model" in field.metadata

    # The next run keeps them without being asked, and has nothing to do.
    again = succeeded(dvt(*command)).json
    assert (again["tagged"], again["skipped"]) == (0, again["images"])
