"""Predictions and failures of one image, passed on to its copies as rows of their own.

The index decides which image waits for which; here their rows are made and added to the results.
Images to restart are returned.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from pipeline.cascade.tag_rows import TagClasses, decoded_size, tag_rows, unpack_predictions
from pipeline.dedupe.index import DuplicateIndex, Image
from pipeline.errors import Reason
from pipeline.output.ledger import Ledger
from pipeline.output.results import Results, ShardRows
from pipeline.records import info_table
from pipeline.scheduling import Origins, Rows

__all__ = ["PredictionFanout"]


class PredictionFanout:
    """Gives images with identical bytes the same prediction.

    Args:
        ledger: has the open shards.
        results: gets the rows and dead letters of copies.
        classes: of the model.
        passthrough: columns of the source that tags repeat.
        index: decides which image waits for which.
        put: stores a table for the writer and returns a reference to it.
    """

    def __init__(
        self,
        ledger: Ledger,
        results: Results,
        classes: TagClasses,
        passthrough: pa.Schema,
        index: DuplicateIndex | None = None,
        put: Callable[[pa.Table], Any] = ray.put,
    ) -> None:
        self._ledger = ledger
        self._results = results
        self._classes = classes
        self._passthrough = passthrough
        self._index = index or DuplicateIndex()
        self._put = put

    def decoded(
        self, shard: int, rows: Rows, decoded: Sequence[int], digests: Sequence[bytes]
    ) -> tuple[Rows, ShardRows]:
        """Adds the images of a block.

        Args:
            shard: of all of them.
            rows: that were to be decoded.
            decoded: positions in `rows` of the images that have pixels.
            digests: of these.

        Returns:
            Ascending positions in `decoded` of the images that need not be computed, and the images
            to restart.
        """
        images = [(shard, row) for row in rows.tolist()]
        unreadable = set(range(len(images))).difference(decoded)
        restarted = [copy for position in unreadable for copy in self._index.fail(images[position])]
        found = self._index.add([images[position] for position in decoded], digests)
        self._add_copies(found.predicted)
        return np.array(found.skipped, dtype=np.int64), _by_shard(restarted + found.restarted)

    def predicted(self, origins: Origins, packed: Iterable[bytes]) -> None:
        """Passes predictions of computed images on to their copies.

        Args:
            origins: of the images, [n].
            packed: their predictions, see `pack_predictions`.
        """
        copies = []
        for image, prediction in zip(_images(origins), packed, strict=True):
            copies += [(copy, prediction) for copy in self._index.predict(image, prediction)]
        self._add_copies(copies)

    def failed(self, origins: Origins, detail: str, attempts: int) -> None:
        """The model failed on images: their copies fail in the same way."""
        for image in _images(origins):
            for shard, row in self._index.fail(image):
                copy = Origins(np.array([shard]), np.array([row]))
                self._results.record_dead_letter(copy, Reason.MODEL_FAILED, detail, attempts)

    def unreadable(self, origins: Origins) -> ShardRows:
        """Images cannot be read: returns their copies to restart, which are other files."""
        return _by_shard([copy for image in _images(origins) for copy in self._index.fail(image)])

    def _add_copies(self, copies: list[tuple[Image, bytes]]) -> None:
        if not copies:
            return
        tables, positions, exit_stages = [], [], []
        packed = [prediction for _, prediction in copies]
        for predictions in unpack_predictions(packed, len(self._classes.groups)):
            chosen = [copies[position] for position in predictions.row_ids.tolist()]
            tables.append(tag_rows(predictions, self._info(chosen), self._classes, gmacs=0.0))
            positions.append(predictions.row_ids)
            exit_stages.append(np.full(len(chosen), predictions.exit_stage))
        images = np.array([image for image, _ in copies])[np.concatenate(positions)]
        self._results.add_predictions(
            self._put(pa.concat_tables(tables)),
            Origins(images[:, 0], images[:, 1]),
            np.concatenate(exit_stages),
            are_copies=True,
        )

    def _info(self, copies: list[tuple[Image, bytes]]) -> pa.Table:
        rows = []
        for (number, row), prediction in copies:
            shard = self._ledger.shard(number)
            rows.append((shard.images[row], shard.name, decoded_size(prediction)))
        return info_table(rows, self._passthrough)


def _images(origins: Origins) -> list[Image]:
    return list(zip(origins.shards.tolist(), origins.rows.tolist(), strict=True))


def _by_shard(images: list[Image]) -> ShardRows:
    return [
        (shard, np.array([row for _, row in group], dtype=np.int64))
        for shard, group in groupby(sorted(images), key=lambda image: image[0])
    ]
