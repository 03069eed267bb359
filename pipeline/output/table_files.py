"""Reads one committed file completely and compares it with its entry in the log."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import OutputFailedError
from pipeline.output.parquet_files import epoch_of
from pipeline.storage import OutputStore

__all__ = ["check_file"]

_BATCH_ROWS = 4096


def check_file(store: OutputStore, entry: dict[str, Any], sort_by: str) -> Iterator[pa.Array]:
    """Yields the values of the sort column, batch by batch; all columns are read.

    Args:
        store: the table's folder.
        entry: of the log, flattened: `path`, `size_bytes`, `num_records`, `min.*`, `max.*`.
        sort_by: column that the file is sorted by.

    Raises:
        OutputFailedError: the file differs from the entry.
        pa.ArrowException, OSError: it cannot be read.
    """
    filesystem = store.arrow()
    name = entry["path"]
    size_bytes = filesystem.get_file_info(name).size
    if size_bytes is None:
        raise OutputFailedError("is missing")
    if size_bytes != entry["size_bytes"]:
        raise OutputFailedError(f"has {size_bytes} bytes, not {entry['size_bytes']}")
    low, high = entry.get(f"min.{sort_by}"), entry.get(f"max.{sort_by}")
    num_rows, last, is_sorted = 0, None, True
    with pq.ParquetFile(
        name, filesystem=filesystem, pre_buffer=False, page_checksum_verification=True
    ) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            keys = batch.column(sort_by)
            if keys.null_count:
                raise OutputFailedError(f"{sort_by} is null")
            bounds = pc.min_max(keys)
            if (low and bounds["min"].as_py() < low) or (high and bounds["max"].as_py() > high):
                raise OutputFailedError(f"{sort_by} lies outside the bounds in the log")
            ordered = keys if last is None else pa.concat_arrays([pa.array([last]), keys])
            is_sorted &= pc.all(pc.less_equal(ordered[:-1], ordered[1:])).as_py() is not False
            last = keys[-1].as_py()
            num_rows += len(keys)
            yield keys
    if num_rows != entry["num_records"]:
        raise OutputFailedError(f"has {num_rows} rows, not {entry['num_records']}")
    if not is_sorted and epoch_of(name) is not None:
        raise OutputFailedError(f"is not sorted by {sort_by}")
