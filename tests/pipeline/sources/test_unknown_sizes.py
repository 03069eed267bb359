"""Images of unknown size take no more memory ahead than was counted for them."""

from pathlib import Path

import pytest

from pipeline.errors import ImageError, Reason
from pipeline.sources import open_archive
from pipeline.sources.fetch_tasks import ASSUMED_BYTES
from pipeline.storage import FileStatus
from pipeline.storage.local_files import LocalFiles


def test_long_images_of_unknown_size_are_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number]) * (ASSUMED_BYTES + 1))
    (tmp_path / "l.txt").write_text("".join(f"{number}.jpg\n" for number in range(8)))
    num_long = 0
    read = LocalFiles.read

    def counting(self: LocalFiles, uri: str, status: FileStatus | None, max_bytes: int) -> bytes:
        nonlocal num_long
        content = read(self, uri, status, max_bytes)
        num_long += 1
        return content

    monkeypatch.setattr(LocalFiles, "read", counting)
    archive = open_archive([str(tmp_path / "l.txt")])
    images = list(archive.list_images())
    for number, content in enumerate(archive.fetcher.fetch_all(images, 2**28)):
        assert content == bytes([number]) * (ASSUMED_BYTES + 1)
        assert num_long == number + 1
    (refused,) = archive.fetcher.fetch_all(images[:1], ASSUMED_BYTES)
    assert isinstance(refused, ImageError)
    assert refused.reason is Reason.TOO_LARGE
