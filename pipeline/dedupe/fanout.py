"""Answers for copies of an image: rows and dead letters; who waits for whom is `Duplicates`' part.

A copy is told its answer by the coordinator, which knows of it what the listing told, and of the
answer some 60 bytes. Rows are put beside the coordinator and go the way of all tags.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipeline.cascade.tag_rows import size_of, tag_rows, unpacked_answers
from pipeline.dedupe.index import Duplicates, Image
from pipeline.errors import Reason
from pipeline.output.ledger import Ledger
from pipeline.output.results import Results
from pipeline.records import info_table
from pipeline.scheduling import Origins

__all__ = ["ListAgain", "SharedAnswers"]

Rows = NDArray[np.int64]
ListAgain = Callable[[int, Rows], None]


class SharedAnswers:
    """What becomes of images with identical bytes.

    Args:
        labels: of the classes.
        kept: columns that are passed through to the tags.
        duplicates: who waits for whom.
        put: hands a table over, to be written later.
    """

    def __init__(
        self,
        labels: Sequence[str],
        kept: pa.Schema,
        duplicates: Duplicates | None = None,
        put: Callable[[pa.Table], Any] = ray.put,
    ) -> None:
        self._labels = labels
        self._kept = kept
        self._duplicates = duplicates or Duplicates()
        self._put = put

    def join(self, ledger: Ledger, results: Results, list_again: ListAgain) -> None:
        """Takes up its work in a run."""
        self._ledger, self._results, self._list_again = ledger, results, list_again

    def decoded(
        self, shard: int, rows: Rows, decoded: Sequence[int], digests: Sequence[bytes]
    ) -> Rows:
        """Images were read; returns which of the decoded ones need not be computed.

        Args:
            shard: of all of them.
            rows: that were to be decoded.
            decoded: positions therein of those that have pixels.
            digests: of these.
        """
        images = [(shard, row) for row in rows.tolist()]
        unread = set(range(len(images))).difference(decoded)
        again = [copy for place in unread for copy in self._duplicates.ended(images[place])]
        found = self._duplicates.decoded([images[place] for place in decoded], digests)
        self._share(found.shared)
        self._do_again(again + found.again)
        return np.array(found.over, dtype=np.int64)

    def answered(self, origins: Origins, answers: Iterable[bytes]) -> None:
        """Images have their answers, which go to their copies too."""
        shared = []
        for image, answer in zip(_images(origins), answers, strict=True):
            shared += [(copy, answer) for copy in self._duplicates.answered(image, answer)]
        self._share(shared)

    def failed(self, origins: Origins, reason: Reason, detail: str, attempts: int) -> None:
        """The model failed on an image, and so it would on the copies that wait."""
        for image in _images(origins):
            for shard, row in self._duplicates.ended(image):
                copy = Origins(np.array([shard]), np.array([row]))
                self._results.record_dead_letter(copy, reason, detail, attempts)

    def unread(self, origins: Origins) -> None:
        """An image cannot be read (again): its copies are other files and get their own chance."""
        self._do_again(
            [copy for image in _images(origins) for copy in self._duplicates.ended(image)]
        )

    def _share(self, shared: list[tuple[Image, bytes]]) -> None:
        if not shared:
            return
        tables, places, exit_stages = [], [], []
        for answers in unpacked_answers([answer for _, answer in shared]):
            chosen = [shared[place] for place in answers.row_ids.tolist()]
            tables.append(tag_rows(answers, self._info(chosen), self._labels, gmacs=0.0))
            places.append(answers.row_ids)
            exit_stages.append(np.full(len(chosen), answers.exit_stage))
        images = np.array([image for image, _ in shared])[np.concatenate(places)]
        self._results.add_answers(
            self._put(pa.concat_tables(tables)),
            Origins(images[:, 0], images[:, 1]),
            np.concatenate(exit_stages),
            are_copies=True,
        )

    def _info(self, shared: list[tuple[Image, bytes]]) -> pa.Table:
        rows = []
        for (number, row), answer in shared:
            shard = self._ledger.shard(number)
            rows.append((shard.images[row], shard.name, *size_of(answer)))
        return info_table(rows, self._kept)

    def _do_again(self, images: list[Image]) -> None:
        for shard, group in groupby(sorted(images), key=lambda image: image[0]):
            self._list_again(shard, np.array([row for _, row in group], dtype=np.int64))


def _images(origins: Origins) -> list[Image]:
    return list(zip(origins.shards.tolist(), origins.rows.tolist(), strict=True))
