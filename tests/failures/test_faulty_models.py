"""Failures that begin inside a cascade actor, made to happen for real."""

import logging
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from PIL import Image

from jobs.shapes import write_shapes
from pipeline.pools import parse_pools
from pipeline.runtime.actors.cascade import CascadeActor
from pipeline.settings import TagSettings
from tests.command_line import rows
from tests.failures.faulty import (
    MARKER,
    Hangs,
    HasLittleMemory,
    Kills,
    Raises,
    Running,
    Slow,
    run_with,
)
from tests.processes import kill, pids_of

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
        decode_seconds=min(20.0, stalled_s),
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


def test_a_picture_that_kills_its_actor_is_the_only_dead_letter(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run_with(Kills, settings(archive, tmp_path / "out", "1-3 actors=2"))
    (letter,) = rows(tmp_path / "out" / "dead_letters")
    assert (letter["key"], letter["reason"]) == ("flat.png", "model_failed")
    assert "its actor died" in letter["detail"]
    assert keys_of(tmp_path / "out") == the_others(archive)
    assert "go to other actors; the attempt counts" in caplog.text
    assert "lost too often, and run alone now" in caplog.text
    assert "gave up flat.png" in caplog.text


def test_an_actor_that_hangs_is_named_and_its_images_go_to_another(
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
    assert "lost pool 1 #0 (no reply for 20 s to 16 images (block" in caplog.text


def test_a_batch_too_large_for_memory_is_halved_and_every_image_is_tagged(
    archive: Path, tmp_path: Path
) -> None:
    run_with(HasLittleMemory, settings(archive, tmp_path / "out", "1 | 2-3"))
    assert rows(tmp_path / "out" / "dead_letters") == []
    assert keys_of(tmp_path / "out") == sorted([*the_others(archive), "flat.png"])


def test_the_loss_of_an_actor_that_restarted_while_idle_is_noticed(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The actor holds images that wait for a full batch; Ray restarts it without them."""
    out = tmp_path / "out"
    restarted: list[bool] = []

    def goes_on(running: Running) -> bool:
        load = running.scheduler.load(0)
        if load.num_calls or load.queued_images or not load.held_images:
            return False
        if not restarted:
            (pid,) = pids_of("ray::CascadeActor")
            assert kill(pid)
            wait_until_restarted(running.handles[0], pid)
            restarted.append(True)
        return True

    with caplog.at_level(logging.INFO):
        run_with(CascadeActor, settings(archive, out, "1-3"), goes_on=goes_on)
    assert restarted
    assert "it restarted while idle and lost all it held" in caplog.text
    assert rows(out / "dead_letters") == []
    assert keys_of(out) == sorted([*the_others(archive), "flat.png"])


def wait_until_restarted(actor: Any, old_pid: int) -> None:
    """Returns once this process reaches the actor's new process."""
    deadline = time.monotonic() + 100
    while Path(f"/proc/{old_pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while True:
        assert time.monotonic() < deadline
        try:
            ray.get(actor.__ray_ready__.remote())
        except ray.exceptions.ActorUnavailableError:
            time.sleep(0.1)
        else:
            return


def test_a_pool_grows_with_its_backlog_without_stopping(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At a second per batch the queue fills up, and the pool doubles."""
    job = settings(archive, tmp_path / "out", "1 actors=1-2 threads=1 | 2-3 threads=1")
    job = job.model_copy(update={"batch_size": 8, "memory_gb": 0.0007})
    with caplog.at_level(logging.INFO):
        run_with(Slow, job)
    assert "pool 1: 2 actors instead of 1" in caplog.text
    assert keys_of(tmp_path / "out") == sorted([*the_others(archive), "flat.png"])
