"""`dvt retry` and `dvt status`, on an output whose archive is repaired meanwhile."""

import shutil
from pathlib import Path

import pytest

from jobs.shapes import write_shapes
from tests.command_line import SHAPES, dvt, rows


@pytest.mark.usefixtures("ray_session")
def test_what_was_repaired_is_tagged_by_a_retry_and_ceases_to_be_a_dead_letter(
    tmp_path: Path,
) -> None:
    archive = write_shapes(tmp_path / "a", 40, seed=3, size=(128, 96), damaged=14)
    out = tmp_path / "out"
    assert dvt("tag", *SHAPES, archive.images, "--out", out).code == 0
    letters = {row["key"]: row["reason"] for row in rows(out / "dead_letters")}
    reasons = sorted(set(letters.values()))
    assert len(reasons) > 1
    for key in letters:
        good = next(row["key"] for row in rows(out / "tags", "SELECT key FROM t LIMIT 1"))
        shutil.copyfile(archive.images / good, archive.images / key)
    chosen = [key for key, reason in letters.items() if reason == reasons[0]]

    some = dvt("retry", out, "--reason", reasons[0], "--json")
    assert some.code == 0, some.err
    assert (some.json["tagged"], some.json["dead_letters"]) == (len(chosen), 0)
    left = {row["key"] for row in rows(out / "dead_letters")}
    tagged = {row["key"] for row in rows(out / "tags", "SELECT key FROM t")}
    assert left == set(letters) - set(chosen)
    assert set(chosen) <= tagged
    assert not left & tagged

    rest = dvt("retry", out, "--json")
    assert rest.json["tagged"] == len(left)
    assert rows(out / "dead_letters") == []
    status = dvt("status", out, "--json").json
    assert (status["tagged"], status["dead_letters"], status["finished"]) == (54, 0, True)
    assert (status["running"], status["epoch"]) == (False, 3)


def test_wrong_usage_is_one_line(tmp_path: Path) -> None:
    for command in ("retry", "status"):
        done = dvt(command, tmp_path)
        assert done.code == 2
        assert done.err == f"dvt: out: {tmp_path} is no output of dvt (it has no run.json)\n"
    done = dvt("retry", tmp_path, "--reason", "bored")
    assert done.code == 2
    assert "reason: must be one or several of: unreadable, not_an_image" in done.err
    assert "(got 'bored')" in done.err
