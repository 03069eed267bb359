"""Writes vectors as NumPy arrays and the other columns as Parquet, as embedding tools read them.

    INDEX/img_emb/img_emb_N.npy           [rows, width] float16
    INDEX/metadata/metadata_N.parquet     the same rows: image_path, caption, and all columns

Each version is written as a whole. Images without a vector are left out.
"""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.index.documents import VECTOR
from jobs.index.state import VectorSpace
from jobs.index.target import DocumentChanges
from jobs.index.vectors import as_matrix
from pipeline.errors import UsageError
from pipeline.storage import OutputStore

__all__ = ["ArraysTarget"]


class ArraysTarget:
    """Arrays and Parquet files.

    Args:
        store: of the index.
        spaces: vector spaces by name.

    Raises:
        UsageError: there are no embeddings.
    """

    can_compare = False

    def __init__(self, store: OutputStore, spaces: dict[str, VectorSpace]) -> None:
        if "embedding" not in spaces:
            raise UsageError("format: parquet-npy needs embeddings, and the output has none")
        self._arrays, self._metadata = store.child("img_emb"), store.child("metadata")
        self.spaces = spaces
        self._width = spaces["embedding"].width

    def clear(self) -> None:
        """See `Target`."""
        for store in (self._arrays, self._metadata):
            store.prepare()
            store.delete([name for name in store.names() if not name.endswith("/")])

    def apply(self, changes: DocumentChanges) -> None:
        """See `Target`."""
        rows = changes.written
        matrix, is_there = as_matrix(rows[VECTOR])
        rows = rows.filter(pa.array(is_there))
        if changes.number and not rows.num_rows and changes.up_to is None:
            return
        content = io.BytesIO()
        np.save(content, matrix.reshape(-1, self._width).astype(np.float16))
        captions = [", ".join(words) for words in rows["words"].to_pylist()]
        table = rows.drop_columns([VECTOR])
        table = table.append_column("image_path", rows["uri"])
        table = table.append_column("caption", pa.array(captions, pa.string()))
        parquet = pa.BufferOutputStream()
        pq.write_table(table, parquet, compression="zstd")
        self._arrays.write(f"img_emb_{changes.number}.npy", content.getvalue())
        self._metadata.write(f"metadata_{changes.number}.parquet", memoryview(parquet.getvalue()))

    def finish(self, num_changed: int) -> dict[str, Any]:
        """See `Target`."""
        files = [name for name in self._arrays.names() if name.endswith(".npy")]
        return {"documents": None, "files": len(files)}
