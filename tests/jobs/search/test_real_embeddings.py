"""Search in an archive that was tagged with embeddings."""

import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from tests.command_line import SHAPES, dvt, rows, succeeded
from tests.ray_session import Tagged


@pytest.mark.usefixtures("ray_session")
def test_pictures_find_themselves_their_copies_and_their_class(
    tagged: Tagged, tmp_path: Path
) -> None:
    out = shutil.copytree(tagged.out, tmp_path / "out")
    succeeded(dvt("tag", *SHAPES, tagged.archive.images, "--out", out, "--embeddings"))
    index = tmp_path / "index"
    report = succeeded(dvt("index", out, "--to", index, "--json")).json
    assert report["documents"] == report["tags"] == len(rows(out / "tags"))
    assert report["vectors"] == {"embedding": 96}
    tags = rows(out / "tags", "SELECT key, uri, label FROM t ORDER BY key")
    num_found = 0
    for row in tags[::60][:8]:
        original = Path(unquote(row["uri"].removeprefix("file://")))
        search = ("search", index, "--top-k", 5, "--json")
        hits = succeeded(dvt(*search, "--image", original)).json["hits"]
        assert hits[0]["key"] == row["key"]
        copy = tmp_path / "copy.jpg"
        with Image.open(original) as picture:
            half = picture.convert("RGB").resize((picture.width * 3 // 4, picture.height * 3 // 4))
            half.save(copy, quality=80)
        hits = succeeded(dvt(*search, "--image", copy)).json["hits"]
        num_found += row["key"] in [hit["key"] for hit in hits[:3]]
        hits = succeeded(dvt(*search, row["label"])).json["hits"]
        assert {hit["label"] for hit in hits} == {row["label"]}
    assert num_found >= 7
