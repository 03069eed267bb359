"""The cascade inside one actor: stages, the staged queue between them, and the exit rule.

Plain Python and torch, no Ray: an actor is a thin shell round it, and tests run it directly. It
runs all stages or a range of them; behind a range that is not the last stands one more queue, in
which images that go on to the next pool are joined into full batches too.
Shapes: n images, S pixels a side, C classes, k best labels.
"""

import logging
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.exits import exit_mask, scores
from dvt.inference import StageExecutor, StateFormat, decode_state, encode_state
from pipeline.cascade.batches import Failure, ForwardedBatch, Predictions
from pipeline.cascade.device_errors import is_device_failure, is_out_of_memory
from pipeline.cascade.queued_batches import QueuedBatch
from pipeline.cascade.stage_metrics import StageMeter, StageWork
from pipeline.cascade.staged_queue import StagedQueue

__all__ = ["CascadeRunner"]

logger = logging.getLogger(__name__)


class CascadeRunner:
    """Runs images through all stages in full batches.

    Args:
        executor: the model on its device, in its precision.
        thresholds: one for each exit, the last taking everything.
        batch_size: images per forward pass, always exactly that many: a shorter batch is padded,
            so that an image's answer does not depend on its company.
        top_k: how many labels an answer names.
        stages: first and last that run here, from 1; None for all.
        state_format: of what hard images carry on from here.
    """

    def __init__(
        self,
        executor: StageExecutor,
        thresholds: tuple[float, ...],
        batch_size: int,
        top_k: int,
        stages: tuple[int, int] | None = None,
        state_format: StateFormat = "float32",
    ) -> None:
        self._executor = executor
        self._thresholds = self._own_thresholds = thresholds
        self._batch_size = batch_size
        self._top_k = min(top_k, executor.config.num_classes)
        first, last = stages or (1, executor.config.num_stages)
        self._first = first - 1
        self._num_here = last - first + 1
        forwards = last < executor.config.num_stages
        self._queue: StagedQueue[QueuedBatch] = StagedQueue(self._num_here + forwards, batch_size)
        self._meter = StageMeter(self._num_here, lambda: self._queue.waiting)
        self._state_format = state_format
        self._forwarded: list[ForwardedBatch] = []
        self._outside: deque[ForwardedBatch] = deque()
        self._uploading: tuple[ForwardedBatch, Callable[[], Tensor]] | None = None

    @property
    def batch_size(self) -> int:
        """Images per forward pass; halved whenever the memory was too small for it."""
        return self._batch_size

    @property
    def waiting(self) -> tuple[int, ...]:
        """Images held, by the stage they wait for."""
        first, *later = self._queue.waiting
        outside = sum(len(images) for images in self._outside)
        uploading = 0 if self._uploading is None else len(self._uploading[0])
        return first + uploading + outside, *later

    def add(self, row_ids: NDArray[np.int64], pixels_nSS3: NDArray[np.uint8]) -> None:
        """Takes images for the cascade's first stage; the pixels are kept, not copied."""
        nothing = np.empty((len(row_ids), 0), dtype=np.float32)
        self.add_hard(ForwardedBatch(row_ids, pixels_nSS3, None, nothing))

    def add_hard(self, images: ForwardedBatch) -> None:
        """Takes images for the first stage that runs here; their data is kept, not copied."""
        for start in range(0, len(images), self._batch_size):
            self._outside.append(images[start : start + self._batch_size])

    def take_forwarded(self) -> list[ForwardedBatch]:
        """What has left the last stage here without an answer, since this was asked last."""
        forwarded, self._forwarded = self._forwarded, []
        return forwarded

    def take_work(self) -> tuple[StageWork, ...]:
        """What each stage here has done since this was asked last."""
        return self._meter.take()

    def run_full(
        self, thresholds: tuple[float, ...] | None = None
    ) -> tuple[list[Predictions], list[Failure]]:
        """Runs while any stage has a full batch, with other thresholds if such are given."""
        return self._run(self._pop_full, thresholds)

    def flush(
        self, thresholds: tuple[float, ...] | None = None
    ) -> tuple[list[Predictions], list[Failure]]:
        """Runs until nothing waits any more, with other thresholds if such are given."""
        return self._run(lambda: self._pop_full() or self._queue.pop_any(), thresholds)

    def _pop_full(self) -> tuple[int, QueuedBatch] | None:
        while (full := self._queue.pop_full()) is None:
            if not self._queue_uploaded():
                return None
        return full

    def _queue_uploaded(self) -> bool:
        """Queues the next images for the first stage, once they are on the device."""
        arriving = self._uploading or self._start_upload()
        if arriving is None:
            return False
        self._uploading = arriving  # until the state has found its place too
        images, pixels = arriving
        state = None
        if images.state is not None:
            state = decode_state(images.state, self._executor.device, self._executor.dtype)
        waiting = QueuedBatch(images.row_ids, pixels(), state, images.confidences, images.early)
        self._uploading = None
        self._queue.push(0, waiting)
        return True

    def _start_upload(self) -> tuple[ForwardedBatch, Callable[[], Tensor]] | None:
        if not self._outside:
            return None
        started = self._outside[0], self._executor.upload(self._outside[0].pixels)
        self._outside.popleft()  # only now: an upload may find no memory
        return started

    def _run(
        self,
        pop: Callable[[], tuple[int, QueuedBatch] | None],
        thresholds: tuple[float, ...] | None,
    ) -> tuple[list[Predictions], list[Failure]]:
        self._thresholds = thresholds or self._own_thresholds
        answers: list[Predictions] = []
        failures: list[Failure] = []
        while True:
            try:
                batch = pop()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._use_less_memory(error)
                continue
            if batch is None:
                return answers, failures
            place, images = batch
            if place == self._num_here:
                self._pack(place, images)
            else:
                early = images.early
                num_audited = 0 if early is None else int(early.is_audited.sum())
                with self._meter.batch(place, len(images), num_audited):
                    self._run_or_split(place, images, answers, failures)

    def _pack(self, place: int, images: QueuedBatch) -> None:
        """Hands images on; they wait again if there is no memory to bring them into shape."""
        try:
            self._forwarded.append(self._packed(images))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._queue.push(place, images)
            self._use_less_memory(error)

    def _packed(self, images: QueuedBatch) -> ForwardedBatch:
        """Brings images into the form in which they travel."""
        state = None
        if images.state is not None:
            state = encode_state(images.state, self._state_format)
        pixels = images.pixels.cpu().numpy()
        return ForwardedBatch(images.row_ids, pixels, state, images.confidences, images.early)

    def _run_or_split(
        self, place: int, batch: QueuedBatch, answers: list[Predictions], failures: list[Failure]
    ) -> None:
        """Runs a batch; one that raises is halved until the image that does it is alone."""
        stage = self._first + place
        try:
            answers += self._run_batch(place, batch)
        except Exception as error:
            if is_out_of_memory(error):
                self._use_less_memory(error)
                self._queue.push(place, batch)
                return
            if is_device_failure(error):
                raise  # every further call would fail too: the process has to start anew
            if len(batch) == 1:
                detail = f"stage {stage + 1} raised {type(error).__name__}: {error}"
                self._give_up(batch, detail, answers, failures)
                return
            logger.warning("stage %d raised %r on %d images; halving", stage + 1, error, len(batch))
            middle = len(batch) // 2
            self._run_or_split(place, batch.cut(0, middle), answers, failures)
            self._run_or_split(place, batch.cut(middle, len(batch)), answers, failures)

    def _give_up(
        self, image: QueuedBatch, detail: str, answers: list[Predictions], failures: list[Failure]
    ) -> None:
        """One image fails; if it had its answer, it only has no audit."""
        told = image.held_early()
        if told is None:
            failures.append(Failure(int(image.row_ids[0]), detail))
        else:
            logger.warning("an image of the audit keeps its early answer: %s", detail)
            answers.append(told)

    def _use_less_memory(self, error: Exception) -> None:
        """Halves the batch size for good."""
        if self._batch_size == 1:
            raise error
        self._batch_size //= 2
        self._queue.batch_size = self._batch_size
        logger.warning("out of memory; the batch size is %d from now on", self._batch_size)

    @torch.inference_mode()
    def _run_batch(self, place: int, batch: QueuedBatch) -> list[Predictions]:
        """One forward pass; queues the survivors and returns what the others were told."""
        stage = self._first + place
        output = self._executor.run(stage, batch.pixels, batch.state, self._batch_size)
        # A device is still computing now; the next images come in beside it.
        self._uploading = self._uploading or self._start_upload()
        probabilities_nC = scores(output.logits)
        largest, best = probabilities_nC.max(dim=-1), probabilities_nC.topk(self._top_k, dim=-1)
        # The device is waited for here, once a batch.
        confidence_n, label_n, top_scores, top_labels = (
            part.cpu() for part in (*largest, best.values, best.indices)
        )
        leaving = exit_mask(confidence_n, self._thresholds[stage]).numpy()
        confidences = np.concatenate([batch.confidences, confidence_n.numpy()[:, None]], axis=1)
        # Among equal scores `topk` and `max` choose differently; the answer is that of `max`,
        # as in `Cascade.predict`.
        label_n1 = label_n.unsqueeze(1)
        top_labels = torch.where(top_labels == label_n1, top_labels[:, :1], top_labels)
        top_labels[:, :1] = label_n1
        early = batch.early
        if early is not None and stage + 1 < self._executor.config.num_stages:
            early, leaving = early.hold(leaving, stage + 1, top_labels.numpy(), top_scores.numpy())
        staying = np.flatnonzero(~leaving)
        if len(staying):
            there = torch.from_numpy(staying).to(batch.pixels.device)
            survivors = QueuedBatch(
                batch.row_ids[staying],
                batch.pixels[there],
                None if output.state is None else output.state[there],
                confidences[staying],
                None if early is None else early[staying],
            )
            self._queue.push(place + 1, survivors)
        if not leaving.any():
            return []
        left = Predictions(
            row_ids=batch.row_ids[leaving],
            top_label_ids=top_labels.numpy()[leaving],
            top_scores=top_scores.numpy()[leaving],
            exit_stage=stage + 1,
            exit_confidences=confidences[leaving],
        )
        return [left] if early is None else left.beside(early[leaving])
