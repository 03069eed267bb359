"""Files that are no pictures, from the command line, with a real Ray."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import SHAPES, dvt, rows, succeeded
from tests.messy_archive import drawing, saved

PAGE = b"<!DOCTYPE html><html><body>404</body></html>\n"
FILM = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(300)
KINDS = {
    "IMG_1.MOV": "video",
    "IMG_1.jpg.json": "sidecar",
    "IMG_1.jpg.xmp": "sidecar",
    "film": "video",
    "letter": "text",
    "page.html": "text",
    "slides.pdf": "document",
    "zeros.dat": "unknown",
}


def write_archive(folder: Path) -> None:
    jpeg, png = saved(drawing(), "JPEG"), saved(drawing(90, 40), "PNG")
    files = {"IMG_1.jpg": jpeg, "IMG": png, "IMG.txt": saved(drawing(50, 50), "JPEG")}
    files |= {"page.jpg": PAGE, "empty.png": b"", "half": jpeg[: len(jpeg) // 2]}
    files |= {"IMG_1.MOV": jpeg, "IMG_1.jpg.json": b"{}", "IMG_1.jpg.xmp": b"<x/>", "film": FILM}
    files |= {"letter": b"Dear Sir, ", "page.html": PAGE, "slides.pdf": b"", "zeros.dat": bytes(99)}
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def outcomes(out: Path) -> dict[str, str]:
    """The table of each key."""
    found: dict[str, str] = {}
    for table in ("tags", "dead_letters", "other_files"):
        for row in rows(out / table, "SELECT key FROM t"):
            assert row["key"] not in found
            found[row["key"]] = table
    return found


def counts(data: dict[str, Any]) -> tuple[int, ...]:
    names = ("images", "tagged", "dead_letters", "other_files", "skipped")
    return tuple(data[name] for name in names)


@pytest.mark.usefixtures("ray_session")
def test_other_files_are_no_failures_and_move_when_they_become_pictures(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_archive(folder)
    command = ("tag", *SHAPES, folder, "--out", out, "--dedupe", "--json")
    first = succeeded(dvt(*command, "--max-errors", "50%"))  # 3 of 6 pictures
    assert counts(first.json) == (14, 3, 3, 8, 0)
    assert "8 other files (no pictures)" in first.err
    letters = rows(out / "dead_letters", "SELECT key, reason FROM t")
    assert {row["key"]: row["reason"] for row in letters} == {
        "page.jpg": "not_an_image",
        "empty.png": "truncated",
        "half": "truncated",
    }
    others = {row["key"]: row for row in rows(out / "other_files")}
    assert {key: row["kind"] for key, row in others.items()} == KINDS
    for key, row in others.items():
        assert row["size_bytes"] == (folder / key).stat().st_size
        assert row["uri"] == (folder / key).as_uri()
        assert row["etag"]
    assert dvt("status", out, "--json").json["other_files"] == 8
    assert "8 other files" in succeeded(dvt("verify", out)).out
    succeeded(dvt("report", out))
    page = (out / "report.html").read_text("utf-8")
    assert "8 files of the archive are no pictures" in page

    again = succeeded(dvt("retry", out, "--json"))
    assert counts(again.json) == (14, 0, 3, 0, 11)
    for name, source in (("letter", "IMG_1.jpg"), ("IMG", "page.html"), ("half", "film")):
        (folder / name).write_bytes((folder / source).read_bytes())
        os.utime(folder / name, ns=(10**18, 10**18))
    changed = succeeded(dvt(*command))
    assert counts(changed.json) == (14, 1, 0, 2, 11)
    found = outcomes(out)
    assert (found["letter"], found["IMG"], found["half"]) == ("tags", "other_files", "other_files")
    assert list(found.values()).count("other_files") == 9
    assert succeeded(dvt("verify", out, "--json")).json["problems"] == []
    assert counts(succeeded(dvt(*command)).json) == (14, 0, 0, 0, 14)


@pytest.mark.usefixtures("ray_session")
def test_a_share_of_errors_is_one_of_the_pictures(tmp_path: Path) -> None:
    """3 of 6 pictures fail; of all 14 files that would be less than 40 %."""
    write_archive(tmp_path / "in")
    done = dvt("tag", *SHAPES, tmp_path / "in", "--out", tmp_path / "out", "--max-errors", "40%")
    assert done.code == 3
    assert "3 images failed, at most 2 may" in done.err
