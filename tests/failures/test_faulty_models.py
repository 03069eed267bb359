"""The rows of the architecture's table that begin inside an actor, made to happen for real."""

import logging
import time
from pathlib import Path

import pytest
from PIL import Image

from jobs.shapes import write_shapes
from pipeline.pools import parse_pools
from pipeline.runtime.actors.cascade import CascadeActor
from pipeline.settings import TagSettings
from tests.command_line import committed_files, rows
from tests.failures.cluster import kill, pids_of
from tests.failures.faulty import (
    MARKER,
    Hangs,
    HasLittleMemory,
    Kills,
    Raises,
    Slow,
    run_with,
)

NUM_IMAGES = 200


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures, one of them of one colour."""
    images = write_shapes(
        tmp_path_factory.mktemp("faulty") / "a", NUM_IMAGES, seed=3, size=(64, 64)
    ).images
    Image.new("RGB", (64, 64), (255, 0, 255)).save(images / "flat.png")
    return images


def settings(archive: Path, out: Path, pools: str, stalled_s: float = 300.0) -> TagSettings:
    return TagSettings(
        input=(str(archive),),
        out=str(out),
        model="shapes",
        batch_size=16,
        decoders=1,
        pools=parse_pools(pools),
        stalled_s=stalled_s,
    )


def keys_of(out: Path) -> list[str]:
    return [row["key"] for row in rows(out / "tags", "SELECT key FROM t ORDER BY key")]


def the_others(archive: Path) -> list[str]:
    found = (path for path in archive.rglob("*.*") if path.name != "flat.png")
    return sorted(path.relative_to(archive).as_posix() for path in found)


@pytest.mark.parametrize("pools", ["1-3", "1 | 2-3"])
def test_a_picture_on_which_the_model_raises_is_the_only_dead_letter(
    archive: Path, tmp_path: Path, pools: str
) -> None:
    run_with(Raises, settings(archive, tmp_path / "out", pools))
    (letter,) = rows(tmp_path / "out" / "dead_letters")
    assert (letter["key"], letter["reason"]) == ("flat.png", "model_failed")
    assert "no kernel for pictures of one colour" in letter["detail"]
    assert keys_of(tmp_path / "out") == the_others(archive)


def test_a_picture_that_kills_its_actor_takes_no_other_along(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run_with(Kills, settings(archive, tmp_path / "out", "1-3 actors=2"))
    (letter,) = rows(tmp_path / "out" / "dead_letters")
    assert (letter["key"], letter["reason"]) == ("flat.png", "model_failed")
    assert "its actor died" in letter["detail"]
    assert keys_of(tmp_path / "out") == the_others(archive)
    said = caplog.text
    assert "go to others; the attempt counts" in said
    assert "they are run alone now" in said
    assert "gave up flat.png" in said


def test_an_actor_that_hangs_is_named_and_its_work_is_done_by_another(
    archive: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(MARKER, str(tmp_path / "hung"))
    with caplog.at_level(logging.INFO):
        run_with(Hangs, settings(archive, tmp_path / "out", "1 | 2-3", stalled_s=20.0))
    assert (tmp_path / "hung").exists()
    assert rows(tmp_path / "out" / "dead_letters") == []
    assert keys_of(tmp_path / "out") == sorted([*the_others(archive), "flat.png"])
    assert "lost pool 1 #0 (no answer for 20 s to 16 images (block" in caplog.text


def test_a_batch_too_large_for_memory_is_halved_and_everything_is_answered(
    archive: Path, tmp_path: Path
) -> None:
    run_with(HasLittleMemory, settings(archive, tmp_path / "out", "1 | 2-3"))
    assert rows(tmp_path / "out" / "dead_letters") == []
    assert keys_of(tmp_path / "out") == sorted([*the_others(archive), "flat.png"])


def test_an_actor_that_dies_while_nobody_waits_for_it_is_missed(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds images that wait for company and owes nothing; Ray brings it up again, empty."""
    out = tmp_path / "out"
    killed: list[int] = []
    at_s: list[float] = []

    def goes_on() -> bool:
        if not at_s and (out / "tags" / "_delta_log").is_dir() and committed_files(out / "tags"):
            at_s.append(time.monotonic())
        if not at_s or time.monotonic() - at_s[0] < 4:  # what can be answered is answered by then
            return False
        if not killed:
            (pid,) = pids_of("ray::CascadeActor")
            assert kill(pid)
            killed.append(pid)
        starting = pids_of("ray::CascadeActor.__init__")
        others = set(pids_of("ray::CascadeActor")) - {*killed, *starting}
        if others and len(at_s) == 1:
            at_s.append(time.monotonic())
        return len(at_s) == 2 and time.monotonic() - at_s[1] > 4  # it passes for the old one now

    with caplog.at_level(logging.INFO):
        run_with(CascadeActor, settings(archive, tmp_path / "out", "1-3"), goes_on=goes_on)
    assert killed
    # Unless Ray took longer than usual to bring it up.
    assert "it died while no call was under way" in caplog.text or "unavailable" in caplog.text
    assert rows(tmp_path / "out" / "dead_letters") == []
    assert keys_of(tmp_path / "out") == sorted([*the_others(archive), "flat.png"])


def test_a_pool_grows_with_its_backlog_without_stopping(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A second a batch: the queue is full of images, and the pool doubles."""
    job = settings(archive, tmp_path / "out", "1 actors=1-2 threads=1 | 2-3 threads=1")
    job = job.model_copy(update={"batch_size": 8, "memory_gb": 0.0007})
    with caplog.at_level(logging.INFO):
        run_with(Slow, job)
    assert "pool 1: 2 actors instead of 1" in caplog.text
    assert keys_of(tmp_path / "out") == sorted([*the_others(archive), "flat.png"])
