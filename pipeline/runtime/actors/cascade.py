"""The cascade actor: holds the stages of one pool and the staged queue between them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray

import dvt
from dvt.inference import EncodedState, StageExecutor, deterministic_matmul, make_executor
from pipeline.audit.held_predictions import HeldPredictions
from pipeline.audit.summary import in_audit
from pipeline.cascade.batches import Failure, ForwardedBatch, Predictions
from pipeline.cascade.runner import CascadeRunner
from pipeline.cascade.stage_metrics import StageWork
from pipeline.cascade.tag_rows import label_names, packed_answers, tag_rows
from pipeline.errors import ActorRestartedError
from pipeline.records import TAGS_SCHEMA
from pipeline.runtime.actors.decode import DecodedBlock
from pipeline.runtime.resource_plan import PoolPlan
from pipeline.settings import TagSettings

__all__ = ["CallResult", "CascadeActor", "ForwardedBlock"]

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ForwardedBlock:
    """The heavy part of a call's answer that goes on to the next pool; of n images.

    Attributes:
        pixels: [n, S, S, 3] uint8.
        info: n rows of what else a tag needs.
        state: of the last stage that ran; None where the cascade reuses nothing.
        confidences: of the stages that ran, [n, stages] float32.
        early: what those of an audit were told; None where nothing is audited.
    """

    pixels: NDArray[np.uint8]
    info: pa.Table
    state: EncodedState | None
    confidences: NDArray[np.float32]
    early: HeldPredictions | None = None

    @property
    def num_bytes(self) -> int:
        """Size in the object store."""
        state = 0 if self.state is None else self.state.num_bytes
        early = 0 if self.early is None else self.early.num_bytes
        return self.pixels.nbytes + int(self.info.nbytes) + state + self.confidences.nbytes + early


@dataclass(frozen=True, slots=True)
class CallResult:
    """The light part of a call's answer.

    Attributes:
        answered: block -> (rows, the exit stage of each, from 1).
        failed: (block, row, detail) of images on which the model raised.
        pieces: (block, rows) of what goes on, in the order of its rows.
        forwarded_bytes: size of that.
        busy_s: seconds that the call took.
        answers: block -> the answer of each answered row (`packed_answers`), if they are shared.
        work: what each stage here did in the call.
        waiting: images inside, by the stage here that they wait for.
    """

    answered: dict[int, tuple[Rows, Rows]]
    failed: list[tuple[int, int, str]]
    pieces: tuple[tuple[int, Rows], ...] = ()
    forwarded_bytes: int = 0
    busy_s: float = 0.0
    answers: dict[int, list[bytes]] = field(default_factory=dict)
    work: tuple[StageWork, ...] = ()
    waiting: tuple[int, ...] = ()


@dataclass(slots=True)
class _Held:
    """A block of which some images are still inside; its row_ids count up from the first.

    Attributes:
        block: its number.
        first_ticket: of its first row here.
        rows: of the decoded block that were given to this actor.
        info: what else their tags need, for all rows of the block.
        num_open: images without an answer.
    """

    block: int
    first_ticket: int
    rows: NDArray[np.int64]
    info: pa.Table
    num_open: int


class CascadeActor:
    """Runs blocks through the stages of its pool; images that are not sure yet stay inside.

    Args:
        settings: of the job; the model is loaded from where they say, also after a restart.
        pool: the stages to run, and how.
        thresholds: one for each exit of the cascade, the last taking everything.
    """

    def __init__(
        self, settings: TagSettings, pool: PoolPlan, thresholds: tuple[float, ...]
    ) -> None:
        deterministic_matmul()
        torch.set_num_threads(pool.num_threads)
        model = dvt.load_model(settings.model)
        self._labels = label_names(model)
        self._gmacs = dvt.gmacs_per_exit(model.config)
        self._num_named = min(settings.top_k, model.config.num_classes)
        self._settings = settings
        self._pool = pool
        self._thresholds = thresholds
        self._executor = self._make_executor(model)
        self._is_reset = False

    def _make_executor(self, model: dvt.Cascade) -> StageExecutor:
        device = torch.device(self._pool.device)
        return make_executor(model, device, getattr(torch, self._pool.dtype))

    def reset(self) -> str:
        """Forgets all images; answers, with the node's name, once the weights are loaded.

        Called before the first run, and after every loss: an actor that was only unreachable
        still holds images that have been given to another since.
        """
        self._start_anew()
        return str(ray.get_runtime_context().get_node_id())

    def _start_anew(self) -> None:
        self._runner = CascadeRunner(
            self._executor,
            self._thresholds,
            self._pool.batch_size,
            self._settings.top_k,
            self._pool.stages,
            self._pool.state_format,
        )
        self._held: list[_Held] = []
        self._num_tickets = 0
        self._is_reset = True

    def _check_is_reset(self) -> None:
        """A process that died while nobody waited for it would otherwise pass for the old one."""
        if not self._is_reset:
            raise ActorRestartedError("it died while no call was under way, with all it held")

    @ray.method(num_returns=3)
    def run(
        self,
        block: int,
        rows: Rows,
        data: DecodedBlock | ForwardedBlock,
        thresholds: tuple[float, ...] | None = None,
    ) -> tuple[pa.Table, ForwardedBlock | None, CallResult]:
        """Takes rows of a block in and returns whatever is answered or goes on by now.

        Args:
            block: its number.
            rows: of the block's data.
            data: the block's.
            thresholds: for whatever runs in this call; None for those of the job.

        Raises:
            ActorRestartedError: `reset` was not called in this process.
        """
        self._check_is_reset()
        started = time.perf_counter()
        row_ids = np.arange(self._num_tickets, self._num_tickets + len(rows))
        self._num_tickets += len(rows)
        self._held.append(_Held(block, int(row_ids[0]), rows, data.info, len(rows)))
        self._runner.add_hard(self._taken(data, rows, row_ids))
        return self._report(*self._runner.run_full(thresholds), started)

    @ray.method(num_returns=3)
    def flush(
        self, thresholds: tuple[float, ...] | None = None
    ) -> tuple[pa.Table, ForwardedBlock | None, CallResult]:
        """Predictions or hands on all images that are still inside, in partial batches.

        Args:
            thresholds: as in `run`.

        Raises:
            ActorRestartedError: `reset` was not called in this process.
        """
        self._check_is_reset()
        started = time.perf_counter()
        return self._report(*self._runner.flush(thresholds), started)

    def _taken(
        self, data: DecodedBlock | ForwardedBlock, rows: Rows, row_ids: Rows
    ) -> ForwardedBatch:
        """Rows of a block's data; all of them, as nearly always, without a copy."""
        state, confidences = None, np.empty((len(data.pixels), 0), dtype=np.float32)
        early = None
        if isinstance(data, ForwardedBlock):
            state, confidences, early = data.state, data.confidences, data.early
        elif self._settings.audit is not None:
            is_audited = in_audit(data.info["key"].to_pylist(), self._settings.audit)
            early = HeldPredictions.none_yet(is_audited, self._num_named)
        if len(rows) == len(data.pixels):
            return ForwardedBatch(row_ids, data.pixels, state, confidences, early)
        return ForwardedBatch(
            row_ids,
            data.pixels[rows],
            None if state is None else state[rows],
            confidences[rows],
            None if early is None else early[rows],
        )

    def _report(
        self, answers: list[Predictions], failures: list[Failure], started: float
    ) -> tuple[pa.Table, ForwardedBlock | None, CallResult]:
        tables: list[pa.Table] = []
        answered: dict[int, list[tuple[Rows, int]]] = {}
        shared: dict[int, list[bytes]] = {}
        for answer in answers:
            info, pieces = self._take_out(answer.row_ids)
            packed = packed_answers(answer, info) if self._settings.dedupe else []
            for block, rows in pieces:
                answered.setdefault(block, []).append((rows, answer.exit_stage))
                shared.setdefault(block, []).extend(packed[: len(rows)])
                packed = packed[len(rows) :]
            gmacs = self._gmacs[answer.exit_stage - 1]
            tables.append(tag_rows(answer, info, self._labels, gmacs))
        failed = []
        for failure in failures:
            _, ((block, rows),) = self._take_out(np.array([failure.row_id]))
            failed.append((block, int(rows[0]), failure.detail))
        hard, going_on = self._hand_on(self._runner.take_forwarded())
        self._held = [held for held in self._held if held.num_open]
        arrays = {
            block: (
                np.concatenate([rows for rows, _ in pieces]),
                np.concatenate([np.full(len(rows), stage) for rows, stage in pieces]),
            )
            for block, pieces in answered.items()
        }
        result = CallResult(
            answered=arrays,
            failed=failed,
            pieces=going_on,
            forwarded_bytes=0 if hard is None else hard.num_bytes,
            busy_s=time.perf_counter() - started,
            answers=shared if self._settings.dedupe else {},
            work=self._runner.take_work(),
            waiting=self._runner.waiting,
        )
        return _joined(tables), hard, result

    def _hand_on(
        self, batches: list[ForwardedBatch]
    ) -> tuple[ForwardedBlock | None, tuple[tuple[int, Rows], ...]]:
        """Joins what goes on into one object."""
        if not batches:
            return None, ()
        info, pieces = self._take_out(np.concatenate([batch.row_ids for batch in batches]))
        only = batches[0]
        if len(batches) > 1:
            states = [batch.state for batch in batches if batch.state is not None]
            early = [batch.early for batch in batches if batch.early is not None]
            only = ForwardedBatch(
                only.row_ids,
                np.concatenate([batch.pixels for batch in batches]),
                EncodedState.join(states) if states else None,
                np.concatenate([batch.confidences for batch in batches]),
                HeldPredictions.join(early) if early else None,
            )
        block = ForwardedBlock(only.pixels, info, only.state, only.confidences, only.early)
        return block, tuple(pieces)

    def _take_out(self, row_ids: Rows) -> tuple[pa.Table, list[tuple[int, Rows]]]:
        """These images leave: the rest of their tags, and runs of rows of one block in order."""
        starts = np.array([held.first_ticket for held in self._held])
        owner_of_ticket = np.searchsorted(starts, row_ids, side="right") - 1
        infos, pieces = [], []
        for order in _runs(owner_of_ticket):
            held = self._held[owner_of_ticket[order.start]]
            places = row_ids[order] - held.first_ticket
            rows = held.rows[places]
            held.num_open -= len(rows)
            infos.append(held.info.take(rows))
            pieces.append((held.block, rows))
        return pa.concat_tables(infos), pieces


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables) if tables else TAGS_SCHEMA.empty_table()


def _runs(values: Rows) -> Iterator[slice]:
    """Stretches of equal values."""
    borders = (np.flatnonzero(np.diff(values)) + 1).tolist()
    yield from map(slice, [0, *borders], [*borders, len(values)])
