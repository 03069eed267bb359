"""Compaction: merges the small files of a table into larger ones, in key order.

A run commits early and often, a file each time. Readers want few files, each with a narrow range of
keys. Every merge is a commit of its own that changes no row, so one that fails costs no result.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from pipeline.output.delta_table import OutputTable

__all__ = ["merge_small_files"]

logger = logging.getLogger(__name__)

_TARGET_BYTES = 64 * 2**20
_TARGET_ROWS = 500_000
_MAX_MEMORY_BYTES = 2**30
_NUM_READERS = 8


def merge_small_files(table: OutputTable) -> int:
    """Merges neighbouring small files, and returns by how many their number fell."""
    files = table.log.files()
    if files.num_rows < 2:
        return 0
    size_of = dict(zip(files["path"].to_pylist(), files["size_bytes"].to_pylist(), strict=True))
    rows_of = dict(zip(files["path"].to_pylist(), files["num_records"].to_pylist(), strict=True))
    in_order = sorted((low, high, name) for name, low, high in table.bounds())
    num_merged = num_bytes = num_rows = 0
    pending: list[str] = []
    for _, _, name in in_order:
        if size_of[name] > _TARGET_BYTES // 2 or (rows_of[name] or 0) > _TARGET_ROWS // 2:
            continue
        num_bytes += size_of[name]
        num_rows += rows_of[name] or 0
        if pending and (num_bytes > _TARGET_BYTES or num_rows > _TARGET_ROWS):
            num_merged += _merge(table, pending)
            pending, num_bytes, num_rows = [], size_of[name], rows_of[name] or 0
        pending.append(name)
    return num_merged + _merge(table, pending)


def _merge(table: OutputTable, names: list[str]) -> int:
    if len(names) < 2:
        return 0
    num_merged = num_bytes = 0
    parts: dict[str, pa.Table] = {}
    with ThreadPoolExecutor(_NUM_READERS) as readers:
        for start in range(0, len(names), _NUM_READERS):
            some = names[start : start + _NUM_READERS]
            for name, rows in zip(some, readers.map(table.read, some), strict=True):
                # Compressed text may be a thousand times larger in memory.
                if parts and num_bytes + rows.nbytes > _MAX_MEMORY_BYTES:
                    num_merged += _replace(table, parts)
                    parts, num_bytes = {}, 0
                parts[name] = rows
                num_bytes += rows.nbytes
    return num_merged + _replace(table, parts)


def _replace(table: OutputTable, parts: dict[str, pa.Table]) -> int:
    if len(parts) < 2:
        return 0
    written = table.writer.write(pa.concat_tables(parts.values()))
    table.replace([written], list(parts))
    logger.debug("merged %d files of %s into one", len(parts), table.store.uri)
    return len(parts) - 1
