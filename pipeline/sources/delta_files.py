"""The files of a Delta table that is read as an archive: those of its last version."""

from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipeline.errors import UsageError
from pipeline.sources.files import NamedFiles, named_files
from pipeline.storage import Stores, open_output_store

__all__ = ["DELTA_LOG", "delta_files"]

DELTA_LOG = "_delta_log"
_UNREADABLE_FEATURES = {"deletionVectors", "columnMapping"}


def delta_files(uri: str, stores: Stores) -> NamedFiles:
    """The Parquet files that the log of a Delta table lists, in the order of their keys.

    Args:
        uri: of the table.
        stores: that hold its files.

    Raises:
        UsageError: the table cannot be read, or lists files that are not there.
    """
    is_local = uri.startswith("file://")
    location = unquote(urlsplit(uri).path) if is_local else uri
    try:
        store = open_output_store(location, "input")
        table = DeltaTable(store.delta_url, storage_options=store.delta_options)
        features = _UNREADABLE_FEATURES.intersection(table.protocol().reader_features or ())
        paths = pa.table(table.get_add_actions(flatten=True))["path"].to_pylist()
    except (DeltaError, OSError) as error:
        text = " ".join(str(error).split())
        raise UsageError(f"input: cannot read the Delta table {uri}: {text}") from error
    if features:
        raise UsageError(
            f"input: the Delta table {uri} uses {', '.join(sorted(features))}, which dvt cannot "
            "read; export its rows to Parquet files"
        )
    folder = uri.rstrip("/") + "/"
    names = map(unquote, paths)  # they are URLs in the log
    uris = sorted(folder + (quote(name) if is_local else name) for name in names)
    return named_files(uris, stores, len(folder))
