"""An index on S3: built, updated, searched."""

from pathlib import Path

from benchmarks.made_up_tags import MadeUpOutput, made_up_keys
from tests.command_line import dvt, succeeded
from tests.s3 import TestStore

KEYS = made_up_keys(120)


def test_an_index_on_s3_follows_its_output_and_is_searched(tmp_path: Path, s3: TestStore) -> None:
    index = f"s3://{s3.new_bucket()}/some/index"
    out = MadeUpOutput(tmp_path / "out", width=16)
    out.write(KEYS[:100])
    assert succeeded(dvt("index", out.folder, "--to", index, "--json")).json["documents"] == 100
    out.write(KEYS[90:], generation=1)
    out.remove(KEYS[:10])
    report = succeeded(dvt("index", out.folder, "--to", index, "--json")).json
    assert (report["written"], report["removed"], report["documents"]) == (30, 10, 110)
    hits = succeeded(dvt("search", index, "--like", KEYS[50], "--json")).json["hits"]
    assert hits[0]["key"] == KEYS[50]
    done = succeeded(dvt("index", out.folder, "--to", f"{index}-b", "--format", "opensearch"))
    assert "110 documents written" in done.out
