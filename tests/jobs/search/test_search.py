"""`dvt search` on made-up tags."""

import re
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dvt as dvt_model
from benchmarks.made_up_tags import MadeUpOutput, made_up_keys
from jobs.index.update import update_index
from jobs.search.engine import ImageIndex
from jobs.search.query import FilterOptions, condition
from jobs.shapes import write_shapes
from pipeline.decoding import decode
from pipeline.errors import OutputFailedError, UsageError
from pipeline.runtime.resource_plan import decode_settings
from tests.command_line import dvt, rows, succeeded

KEYS = made_up_keys(1500)
HOSTILE = "Trip_x/<img src=x onerror=alert(1)>\u202e.jpg"


SEPARATOR = "Trip_y/qxzsepzxq.jpg"


@pytest.fixture(scope="module")
def made_up(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[dict[str, Any]]]:
    """An index and the rows of `tags` that it was made from."""
    folder = tmp_path_factory.mktemp("search")
    out = MadeUpOutput(folder / "out")
    out.write([*KEYS, HOSTILE, SEPARATOR])
    update_index(out.folder, folder / "index", "lancedb")
    return folder / "index", rows(out.folder / "tags")


def found(index: Path, *arguments: object) -> list[dict[str, Any]]:
    hits = succeeded(dvt("search", index, *arguments, "--json")).json["hits"]
    assert isinstance(hits, list)
    return hits


def test_a_group_finds_its_classes_the_most_confident_first(made_up: Any) -> None:
    index, tags = made_up
    hits = found(index, "dogs", "--top-k", 15)
    best = sorted((row["confidence"] for row in tags if "dog" in row["groups"]), reverse=True)[:15]
    assert [hit["confidence"] for hit in hits] == pytest.approx(best, abs=1e-3)
    assert all("dog" in hit["groups"] for hit in hits)
    assert {tuple(hit["reasons"]) for hit in hits} == {("group dog",)}


def test_every_word_of_the_query_counts(made_up: Any) -> None:
    index, tags = made_up
    hits = found(index, "beagle", "river", "--top-k", 200)
    both = {row["key"] for row in tags if row["label"] == "river beagle"}
    assert {hit["key"] for hit in hits[: len(both)]} == both
    assert all(hit["score"] <= 0.25 for hit in hits[len(both) :])
    assert {tuple(hit["reasons"]) for hit in hits[: len(both)]} == {("label river beagle",)}


def test_path_words_are_found(made_up: Any) -> None:
    index, _ = made_up
    hits = found(index, "trip 000002 owl")
    assert all("Trip_000002" in hit["key"] for hit in hits[:5])
    assert hits[0]["reasons"] == ["path", f"label {hits[0]['label']}"]


def test_no_word_in_a_name_separates_names(made_up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index, _ = made_up
    hits = found(index, "qxzsepzxq")
    assert (hits[0]["key"], hits[0]["reasons"]) == (SEPARATOR, ["path"])
    opened = ImageIndex(index)
    texts: list[str] = []
    tokenize = opened.table.tokenize

    def noted(text: str, **options: Any) -> Any:
        texts.append(text)
        return tokenize(text, **options)

    monkeypatch.setattr(opened.table, "tokenize", noted)
    for _ in range(2):
        assert list(opened._tokens_of(["red owl", "x_7"]).values()) == [{"red", "owl"}, {"x", "7"}]
    assert len(set(texts)) == 2


def test_a_picture_finds_itself_first_and_its_class_next(made_up: Any) -> None:
    index, tags = made_up
    for row in tags[:5]:
        hits = found(index, "--like", row["key"], "--top-k", 10)
        assert hits[0]["key"] == row["key"]
        assert hits[0]["similarity"] == pytest.approx(1.0, abs=1e-3)
        assert hits[0]["score"] == pytest.approx(1.0, abs=1e-3)
        num_alike = sum(tag["label"] == row["label"] for tag in tags)
        assert sum(hit["label"] == row["label"] for hit in hits) > min(10, num_alike) / 2


def test_words_and_picture_together(made_up: Any) -> None:
    index, tags = made_up
    example = next(row for row in tags if row["label"] == "red beagle")
    hits = found(index, "owl", "--like", example["key"], "--top-k", 200)
    assert any("beagle" in hit["label"] for hit in hits)
    assert any(hit["reasons"][0] == "label river owl" for hit in hits)
    assert all(hit["similarity"] is not None for hit in hits)
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)


def test_filters_leave_out_what_does_not_pass(made_up: Any) -> None:
    index, tags = made_up
    options = ["--group", "dog", "--group", "bird", "--min-confidence", 0.8, "--exit", 2]
    options += ["--folder", "2000/Trip_000001", "--where", "camera = 'Pixel''s'"]
    wanted = {
        row["key"]
        for row in tags
        if {"dog", "bird"} & set(row["groups"])
        and row["confidence"] >= 0.8
        and row["exit_stage"] == 2
        and row["key"].startswith("2000/Trip_000001/")
        and row["camera"] == "Pixel's"
    }
    assert wanted
    for query in ([], ["animal"], ["--like", KEYS[3]]):
        hits = found(index, *query, *options, "--top-k", 1000)
        assert {hit["key"] for hit in hits} == wanted
    labels = {hit["label"] for hit in found(index, "--label", "red owl", "--label", "blue jay")}
    assert labels == {"red owl", "blue jay"}


def test_weak_hits_are_marked(made_up: Any) -> None:
    index, tags = made_up
    rare = next(row for row in tags if row["label"] == "royal volcano")
    done = succeeded(dvt("search", index, "--like", rare["key"], "--json"))
    weak_from = done.json["weak_from"]
    assert 0 < weak_from < 20
    hits = done.json["hits"]
    assert hits[weak_from - 1]["score"] >= hits[0]["score"] / 2 > hits[weak_from]["score"]
    lines = done.err.splitlines()
    assert "-- weak from here --" in lines[weak_from + 1]
    assert "nothing found" in dvt("search", index, "zebra").out


def test_the_contact_sheet_shows_hostile_names_as_text(
    made_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, _ = made_up
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    sheet = tmp_path / "deep" / "hits.html"
    words = ["onerror", "<script>alert(2)</script>"]
    done = succeeded(dvt("search", index, *words, "--html", sheet, "--open"))
    assert opened == [sheet.as_uri()]
    page = sheet.read_text(encoding="utf-8")
    assert "&lt;img src=x onerror=alert(1)&gt;\\u{202e}.jpg" in page
    assert "no longer there" in page
    assert not re.search(r"<script|<img src=x|\u202e", page)
    assert "\u202e" not in done.out
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_wrong_queries_are_one_line(made_up: Any, tmp_path: Path) -> None:
    index, _ = made_up
    for arguments, message in [
        ([index, "--like", "none.jpg"], "like: 'none.jpg' is not in the index"),
        ([index, "--like", KEYS[0], "--image", "x"], "give either --image or --like"),
        ([index, "--image", tmp_path / "x.jpg"], "image: there is no file"),
        ([index, "--like", KEYS[0], "--space", "clip"], "has no vectors 'clip'; allowed are embed"),
        ([index, "--exit", 0], "exit: "),
        ([tmp_path], "is no index of dvt"),
    ]:
        done = dvt("search", *arguments)
        assert done.code == 2
        assert message in done.err
        assert len(done.err.splitlines()) == 1
    done = dvt("search", index, "owl", "--where", "nonsense >")
    assert (done.code, len(done.err.splitlines())) == (1, 1)


def test_a_picture_of_the_archive_is_found_by_its_file(made_up: Any, tmp_path: Path) -> None:
    picture = tmp_path / "a picture.jpg"
    picture.write_bytes(b"1")
    out = MadeUpOutput(tmp_path / "out", archive=tmp_path)
    out.write([picture.name, *KEYS[:20]])
    update_index(out.folder, tmp_path / "index", "lancedb")
    assert found(tmp_path / "index", "--image", picture)[0]["key"] == picture.name


def test_another_picture_is_embedded_as_its_output_was(tmp_path: Path) -> None:
    model = dvt_model.load_model("shapes")
    write_shapes(tmp_path / "archive", 6, seed=3)
    file = next(path for path in sorted((tmp_path / "archive").rglob("*")) if path.is_file())
    decoded = decode(file.read_bytes(), decode_settings(model.spec))
    executor = model.make_executor()
    raw = executor.run(0, executor.upload(decoded.pixels[None])(), None, 1).embedding
    assert raw is not None
    expected = model.make_embedder(executor.device)(raw)[0].float().numpy()
    out = MadeUpOutput(tmp_path / "out", width=len(expected), model=model.digest())
    out.write(KEYS[:20])
    update_index(out.folder, tmp_path / "index", "lancedb")
    vector = ImageIndex(tmp_path / "index").vector_of_picture(file)
    np.testing.assert_allclose(vector, expected, atol=2e-3)
    assert np.linalg.norm(vector) == pytest.approx(1.0)
    hits = found(tmp_path / "index", "--image", file)
    assert hits[0]["similarity"] == max(hit["similarity"] for hit in hits)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    done = dvt("search", tmp_path / "index", "--image", broken)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "image: " in done.err
    MadeUpOutput(tmp_path / "out2", width=16, model="d9").write(KEYS[:20])
    update_index(tmp_path / "out2", tmp_path / "index2", "lancedb")
    done = dvt("search", tmp_path / "index2", "--image", file)
    assert "the index holds vectors of the model d9, but shapes is another one" in done.err
    (tmp_path / "out2" / "run.json").unlink()
    done = dvt("search", tmp_path / "index2", "--image", file)
    assert "is not in the index, and the output that names the model cannot be read" in done.err


def test_an_index_of_words_only_has_no_vectors(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out", width=0)
    out.write(KEYS[:20])
    update_index(out.folder, tmp_path / "index", "lancedb")
    index = ImageIndex(tmp_path / "index")
    assert index.search("animal vehicle food 2000").hits
    with pytest.raises(UsageError, match="it is an index of words only"):
        index.vector_of(KEYS[0])
    with pytest.raises(OutputFailedError):
        index.search("owl", filters=FilterOptions(where="no_column = 1"))
    vector = np.zeros(4, dtype=np.float32)
    with pytest.raises(UsageError, match="has no vectors"):
        index.search(vector=vector)


def test_filters_use_the_indexes(made_up: Any) -> None:
    table = ImageIndex(made_up[0]).table
    filters = FilterOptions(group=("dog",), label=("red owl",), min_confidence=0.5, exit=1)
    plan = table.search().where(str(condition(filters))).limit(5).explain_plan()
    assert "CAST" not in plan
    used = ("groups_labellist", "label_btree", "confidence_btree", "exit_stage_bitmap")
    assert [name for name in used if name not in plan] == []
