"""Archives that several tests read; made once."""

import pytest

from dvt.inference import deterministic_matmul
from jobs.shapes import WrittenArchive, write_shapes
from tests.s3 import moto_endpoint, s3

__all__ = ["moto_endpoint", "s3"]

# As in the actors, so that what the engine computed can be compared bit by bit.
deterministic_matmul()


@pytest.fixture(scope="session")
def archive_5000(tmp_path_factory: pytest.TempPathFactory) -> WrittenArchive:
    """5,000 small labelled pictures without damage."""
    folder = tmp_path_factory.mktemp("archive-5000")
    return write_shapes(folder / "a", 5000, seed=11, size=(128, 96))


@pytest.fixture(scope="session")
def damaged_archive(tmp_path_factory: pytest.TempPathFactory) -> WrittenArchive:
    """100 pictures of photo-like sizes, and every kind of damage three times."""
    folder = tmp_path_factory.mktemp("archive-damaged")
    return write_shapes(folder / "a", 100, seed=12, damaged=21)
