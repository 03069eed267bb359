"""Names of outputs that Delta Lake would not find again, and file systems without hard links."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline.errors import UsageError
from pipeline.output.delta_log import DeltaLog
from pipeline.storage import LocalOutputStore, open_output_store

SCHEMA = pa.schema([("key", pa.string())])


@pytest.mark.parametrize("name", ["My%20Photos", "back\\slash", "a[1]", os.fsdecode(b"aus\xe9")])
def test_a_name_that_delta_lake_takes_for_another_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^out: Delta Lake cannot use a path") as raised:
        open_output_store(tmp_path / name)
    str(raised.value).encode("ascii")
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(name)
    with pytest.raises(UsageError, match=r"^out: Delta Lake cannot use"):
        open_output_store(tmp_path / "link")


@pytest.mark.parametrize("uri", ["s3://b/2026#1", "s3://b/a?b", "s3://b/a%20b", "s3://b/a\\b"])
def test_a_prefix_that_delta_lake_cuts_off_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match=r"^out: Delta Lake cannot use"):
        open_output_store(uri)


@pytest.mark.parametrize("name", ["a b", "a#b?c", "50%", "ü", "a*b", "~x{1}"])
def test_other_odd_names_hold_a_table(tmp_path: Path, name: str) -> None:
    store = open_output_store(tmp_path / name).child("tags")
    DeltaLog(store, SCHEMA, 1, "run")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert DeltaTable(store.uri).version() >= 0


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
