"""Names that Delta Lake takes for others are refused; outputs without hard links work."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import UsageError
from pipeline.output.delta_log import DeltaLog
from pipeline.storage import LocalOutputStore, open_output_store

SCHEMA = pa.schema([("key", pa.string())])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("My%20Photos", r"percent escapes such as %20 \(got /.*/My%20Photos\)"),
        ("back\\slash", r"backslashes such as \\ \(got /.*/back\\slash\)"),
        ("a\nb", r"control characters such as \\u\{000a\} \(got "),
        (os.fsdecode(b"aus\xe9"), r"bytes that are not UTF-8 such as \\u\{dce9\} \(got "),
    ],
)
def test_a_folder_that_delta_lake_takes_for_another_is_refused(
    tmp_path: Path, name: str, what: str
) -> None:
    with pytest.raises(
        UsageError, match=f"^out: Delta Lake cannot use paths with {what}"
    ) as raised:
        open_output_store(tmp_path / name)
    assert str(raised.value).isprintable()
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(name)
    with pytest.raises(UsageError, match=r"^out: Delta Lake cannot use"):
        open_output_store(tmp_path / "link")


@pytest.mark.parametrize("uri", ["s3://b/a%20b", "s3://b/a//b", "s3://b/a/../b", "s3://b/a\x01"])
def test_a_prefix_that_delta_lake_takes_for_another_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match=r"^out: Delta Lake cannot use"):
        open_output_store(uri)


def test_a_file_system_without_hard_links_holds_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = LocalOutputStore(tmp_path / "tags")
    log = DeltaLog(store, SCHEMA, 1, "run")
    assert store.delta_options == {"allow_unsafe_rename": "true"}
    assert log.delta.version() >= 0
    assert not list((tmp_path / "tags").glob("*.partial"))
    monkeypatch.undo()
    store.prepare()
    assert store.delta_options == {}
