"""The cascade actor: holds all stages and the staged queue between them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray

import dvt
from dvt.fast import make_executor
from pipeline.actors.decode import DecodedParcel
from pipeline.cascade_runner import Answers, CascadeRunner, CascadeSettings, Failure
from pipeline.records import TAGS_SCHEMA

__all__ = ["CascadeActor", "Receipt"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The light part of a call's answer.

    Attributes:
        answered: parcel -> (rows, the exit stage of each, from 1).
        failed: (parcel, row, detail) of images on which the model raised.
    """

    answered: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]
    failed: list[tuple[int, int, str]]


@dataclass(slots=True)
class _Held:
    """A parcel of which some images are still inside; its tickets count up from the first.

    Attributes:
        parcel: its number.
        first_ticket: of its first row here.
        rows: of the decoded parcel that were given to this actor.
        info: what else their tags need, for all rows of the parcel.
        num_open: images without an answer.
    """

    parcel: int
    first_ticket: int
    rows: NDArray[np.int64]
    info: pa.Table
    num_open: int


class CascadeActor:
    """Runs parcels through the cascade; images that are not confident yet stay inside."""

    def __init__(self, settings: CascadeSettings) -> None:
        torch.set_num_threads(settings.num_threads)
        model = dvt.load_model(settings.model)
        self._labels = model.labels or tuple(str(n) for n in range(model.config.num_classes))
        self._gmacs = dvt.gmacs_per_exit(model.config)
        self._executor = make_executor(
            model, torch.device(settings.device), getattr(torch, settings.dtype)
        )
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forgets all images; answers once the weights are loaded.

        Called before the first run, and after every loss: an actor that was only unreachable
        still holds images that have been given to another since.
        """
        settings = self._settings
        self._runner = CascadeRunner(
            self._executor, settings.thresholds, settings.batch_size, settings.top_k
        )
        self._held: list[_Held] = []
        self._num_tickets = 0

    @ray.method(num_returns=2)
    def run(
        self, parcel: int, rows: NDArray[np.int64], decoded: DecodedParcel
    ) -> tuple[pa.Table, Receipt]:
        """Takes rows of a decoded parcel in and returns whatever is answered by now."""
        tickets = np.arange(self._num_tickets, self._num_tickets + len(rows))
        self._num_tickets += len(rows)
        self._held.append(_Held(parcel, int(tickets[0]), rows, decoded.info, len(rows)))
        self._runner.add(tickets, decoded.pixels[rows])
        return self._report(*self._runner.run_full())

    @ray.method(num_returns=2)
    def flush(self) -> tuple[pa.Table, Receipt]:
        """Answers all images that are still inside, in partial batches."""
        return self._report(*self._runner.flush())

    def _report(self, answers: list[Answers], failures: list[Failure]) -> tuple[pa.Table, Receipt]:
        tables = [TAGS_SCHEMA.empty_table()]
        answered: dict[int, list[tuple[NDArray[np.int64], int]]] = {}
        for answer in answers:
            infos = []
            for held, order in self._owners(answer.tickets):
                rows = held.rows[answer.tickets[order] - held.first_ticket]
                infos.append((order, held.info.take(rows)))
                answered.setdefault(held.parcel, []).append((rows, answer.exit_stage))
                held.num_open -= len(rows)
            order = np.argsort(np.concatenate([order for order, _ in infos]))
            tables.append(self._tags(answer, pa.concat_tables([i for _, i in infos]).take(order)))
        failed = []
        for failure in failures:
            ((held, _),) = self._owners(np.array([failure.ticket]))
            row = int(held.rows[failure.ticket - held.first_ticket])
            failed.append((held.parcel, row, failure.detail))
            held.num_open -= 1
        self._held = [held for held in self._held if held.num_open]
        arrays = {
            parcel: (
                np.concatenate([rows for rows, _ in pieces]),
                np.concatenate([np.full(len(rows), stage) for rows, stage in pieces]),
            )
            for parcel, pieces in answered.items()
        }
        return pa.concat_tables(tables), Receipt(arrays, failed)

    def _owners(self, tickets: NDArray[np.int64]) -> Iterator[tuple["_Held", NDArray[np.int64]]]:
        """The parcels that these tickets belong to, each with the positions of its tickets."""
        starts = np.array([held.first_ticket for held in self._held])
        owner_of_ticket = np.searchsorted(starts, tickets, side="right") - 1
        for owner in np.unique(owner_of_ticket):
            yield self._held[owner], np.flatnonzero(owner_of_ticket == owner)

    def _tags(self, answer: Answers, info: pa.Table) -> pa.Table:
        """Rows of the `tags` table for one batch's answers."""
        num_rows, num_labels = answer.top_label_ids.shape
        labels = np.array(self._labels, dtype=object)[answer.top_label_ids]
        columns = {
            "key": info["key"],
            "uri": info["uri"],
            "label": pa.array(labels[:, 0], pa.string()),
            "label_id": pa.array(answer.top_label_ids[:, 0], pa.int32()),
            "confidence": pa.array(answer.top_scores[:, 0]),
            "top_labels": _lists(pa.array(labels.ravel(), pa.string()), num_rows, num_labels),
            "top_scores": _lists(pa.array(answer.top_scores.ravel()), num_rows, num_labels),
            "exit_stage": pa.array(np.full(num_rows, answer.exit_stage, dtype=np.int8)),
            "exit_confidences": _lists(
                pa.array(answer.exit_confidences.ravel()), num_rows, answer.exit_stage
            ),
            "gmacs": pa.array(
                np.full(num_rows, self._gmacs[answer.exit_stage - 1], dtype=np.float32)
            ),
            "width": info["width"],
            "height": info["height"],
            "etag": info["etag"],
            "shard": info["shard"],
        }
        return pa.table(columns, schema=TAGS_SCHEMA)


def _lists(values: pa.Array, num_rows: int, length: int) -> pa.Array:
    """A list column in which every row has the same number of values."""
    offsets = pa.array(np.arange(0, (num_rows + 1) * length, length or 1, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, values)
