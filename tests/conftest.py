"""Markers, Hypothesis profiles, and fixtures that several rooms share."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import is_hypothesis_test, settings

from dvt.inference import deterministic_matmul
from jobs.shapes import WrittenArchive, write_shapes
from tests.models import (
    golden_images,
    golden_logits,
    golden_scores,
    golden_shapes,
    golden_sweep,
    golden_weights,
    published_layout,
    random_images,
    tiny_cascade,
    tiny_config,
)
from tests.ray_session import ray_address, ray_session, tagged
from tests.s3 import moto_endpoint, s3
from tests.small_hub import hub, running_hub

__all__ = [
    "golden_images",
    "golden_logits",
    "golden_scores",
    "golden_shapes",
    "golden_sweep",
    "golden_weights",
    "hub",
    "moto_endpoint",
    "published_layout",
    "random_images",
    "ray_address",
    "ray_session",
    "running_hub",
    "s3",
    "tagged",
    "tiny_cascade",
    "tiny_config",
]

TESTS = Path(__file__).parent

# Markers by path below this folder; `slow` are files that take ten seconds of processor time.
MARKED_PATHS = {
    "failures/*.py": ("ray", "chaos"),
    "dvt/training/test_loop.py": ("train",),
    "dvt/training/test_resume.py": ("train",),
    "dvt/training/test_float16.py": ("train",),
    "dvt/training/test_distillation.py": ("train",),
    "jobs/commands/test_train_adapters.py": ("train",),
    "jobs/commands/test_demo.py": ("slow",),
    "jobs/commands/test_profile.py": ("slow",),
    "pipeline/output/test_any_history.py": ("slow",),
    "jobs/evaluation/test_recorder.py": ("slow",),
    "jobs/index/test_kills.py": ("chaos",),
    "pipeline/output/test_processes.py": ("slow",),
    "pipeline/output/test_retagging.py": ("slow",),
}
_MARKED_FIXTURES = {"s3": "s3", "moto_endpoint": "s3", "ray_address": "ray", "setting": "train"}

# All clusters of a session have one token: a process that has started Ray with a token refuses the
# calls of a cluster without one.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

# Ray's workers import the actors of tests, and nothing from the current folder.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (str(TESTS.parent), os.environ.get("PYTHONPATH")))
)

settings.register_profile("fast", deadline=None, max_examples=20, derandomize=True)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True)
settings.register_profile("night", deadline=None, max_examples=300, print_blob=True)
settings.load_profile("ci")

# As in the actors, so that the engine's results can be compared bit by bit.
deterministic_matmul()


def pytest_configure() -> None:
    """Refuse a path that no file has any more."""
    for pattern in MARKED_PATHS:
        if not any(TESTS.glob(pattern)):
            raise pytest.UsageError(f"MARKED_PATHS: no file matches {pattern}")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by its path, its fixtures, and Hypothesis."""
    path = item.path.relative_to(TESTS)
    names = {
        name for pattern in MARKED_PATHS if path.match(pattern) for name in MARKED_PATHS[pattern]
    }
    fixtures: list[str] = getattr(item, "fixturenames", [])
    names |= {_MARKED_FIXTURES[name] for name in fixtures if name in _MARKED_FIXTURES}
    if is_hypothesis_test(getattr(item, "obj", None)):
        names.add("property")
    for name in sorted(names):
        item.add_marker(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Keep Ray out of tests without the marker `ray`, and all tests out of other clusters."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("ray"):
            patch.delenv("RAY_ADDRESS", raising=False)
        else:
            patch.setenv("RAY_ADDRESS", "this-test-lacks-the-marker-ray")
        return (yield)


def pytest_runtest_setup() -> None:
    """One thread a process: most models here are so small that threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def archive_5000(tmp_path_factory: pytest.TempPathFactory) -> WrittenArchive:
    """5,000 small labelled pictures without damage."""
    folder = tmp_path_factory.mktemp("archive-5000")
    return write_shapes(folder / "a", 5000, seed=11, size=(64, 48))


@pytest.fixture(scope="session")
def damaged_archive(tmp_path_factory: pytest.TempPathFactory) -> WrittenArchive:
    """100 pictures of photo-like sizes, and every kind of damage three times."""
    folder = tmp_path_factory.mktemp("archive-damaged")
    return write_shapes(folder / "a", 100, seed=12, damaged=21)
