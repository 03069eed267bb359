"""Output locations of both kinds."""

import uuid
from pathlib import Path

import pytest

from tests.s3_server import BUCKET, S3Server, s3

__all__ = ["s3"]


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A location without an output: a folder that does not exist, or a prefix of a bucket."""
    if request.param == "folder":
        return str(tmp_path / "out")
    server = request.getfixturevalue("s3")
    assert isinstance(server, S3Server)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/out"
