"""The cascade inside one actor: stages, the staged queue between them, and the exit rule.

Plain Python and torch, no Ray. Runs all stages or a range of them. After a range that is not the
last there is one more queue, which joins images into full batches for the next pool.
Shapes: n images, S pixels per side, C classes, k best labels, G groups.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.exits import confidence, exit_mask, group_scores, scores
from dvt.inference import StageExecutor, StateFormat, decode_state, encode_state
from dvt.labels import ClassGroups, SureOf
from pipeline.cascade.batches import Failure, ForwardedBatch, Predictions, QueuedBatch
from pipeline.cascade.device_errors import is_device_failure, is_out_of_memory
from pipeline.cascade.stage_work import StageWork
from pipeline.cascade.staged_queue import StagedQueue

__all__ = ["CascadeRunner"]

logger = logging.getLogger(__name__)


class CascadeRunner:
    """Runs images through the stages in full batches.

    Args:
        executor: the model on its device, in its precision.
        thresholds: one for each exit; the last exit takes every image.
        batch_size: images per forward pass. Shorter batches are padded to it, so that the
            prediction for an image does not depend on the batch.
        top_k: labels per prediction.
        stages: first and last stage to run, from 1; None for all.
        state_format: of the state that images carry to the next pool.
        groups: of the model's classes; None for a model without groups.
        sure_of: what the thresholds apply to.

    Raises:
        ModelError: `sure_of` is "group", and there are no groups.
    """

    def __init__(
        self,
        executor: StageExecutor,
        thresholds: tuple[float, ...],
        batch_size: int,
        top_k: int,
        stages: tuple[int, int] | None = None,
        state_format: StateFormat = "float32",
        groups: ClassGroups | None = None,
        sure_of: SureOf = "label",
    ) -> None:
        self._executor = executor
        self._thresholds = self._default_thresholds = thresholds
        self._batch_size = batch_size
        self._top_k = min(top_k, executor.spec.num_classes)
        groups = groups or ClassGroups(executor.spec.num_classes)
        self._parts = groups.parts(sure_of, executor.device)
        self._membership = groups.membership(executor.device)
        first, last = stages or (1, executor.spec.num_stages)
        self._first = first - 1
        self._num_here = last - first + 1
        forwards = last < executor.spec.num_stages
        self._queue: StagedQueue[QueuedBatch] = StagedQueue(self._num_here + forwards, batch_size)
        self._work = [StageWork()] * self._num_here
        self._state_format = state_format
        self._forwarded: list[ForwardedBatch] = []
        self._host: deque[ForwardedBatch] = deque()
        self._uploading: tuple[ForwardedBatch, Callable[[], Tensor]] | None = None

    @property
    def batch_size(self) -> int:
        """Images per forward pass; halved each time the device is out of memory."""
        return self._batch_size

    @property
    def waiting(self) -> tuple[int, ...]:
        """Images inside, by the stage that they wait for."""
        first, *later = self._queue.waiting
        on_host = sum(len(images) for images in self._host)
        uploading = 0 if self._uploading is None else len(self._uploading[0])
        return first + uploading + on_host, *later

    def add(self, row_ids: NDArray[np.int64], pixels_nSS3: NDArray[np.uint8]) -> None:
        """Adds images for the first stage of the cascade; keeps the pixels without a copy."""
        no_confidences = np.empty((len(row_ids), 0), dtype=np.float32)
        self.add_forwarded(ForwardedBatch(row_ids, pixels_nSS3, None, no_confidences))

    def add_forwarded(self, images: ForwardedBatch) -> None:
        """Adds images for the first stage that runs here; keeps their data without a copy."""
        for start in range(0, len(images), self._batch_size):
            self._host.append(images[start : start + self._batch_size])

    def take_forwarded(self) -> list[ForwardedBatch]:
        """Images that left this pool's last stage without an exit since the previous call."""
        forwarded, self._forwarded = self._forwarded, []
        return forwarded

    def take_work(self) -> tuple[StageWork, ...]:
        """Work of each stage here since the previous call."""
        work, self._work = self._work, [StageWork()] * self._num_here
        return tuple(work)

    def run_full(
        self, thresholds: tuple[float, ...] | None = None
    ) -> tuple[list[Predictions], list[Failure]]:
        """Runs while any stage has a full batch.

        Args:
            thresholds: for this call; None for the default ones.
        """
        return self._run(self._pop_full, thresholds)

    def flush(
        self, thresholds: tuple[float, ...] | None = None
    ) -> tuple[list[Predictions], list[Failure]]:
        """Runs until no image waits, in partial batches too.

        Args:
            thresholds: for this call; None for the default ones.
        """
        return self._run(lambda: self._pop_full() or self._queue.pop_any(), thresholds)

    def _pop_full(self) -> tuple[int, QueuedBatch] | None:
        while (full := self._queue.pop_full()) is None:
            if not self._queue_uploaded():
                return None
        return full

    def _queue_uploaded(self) -> bool:
        """Queues the next images for the first stage once they are on the device."""
        arriving = self._uploading or self._start_upload()
        if arriving is None:
            return False
        self._uploading = arriving  # until the state is on the device too
        images, pixels = arriving
        state = None
        if images.state is not None:
            state = decode_state(images.state, self._executor.device, self._executor.dtype)
        queued = QueuedBatch(
            images.row_ids, pixels(), state, images.confidences, images.held, images.embeddings
        )
        self._uploading = None
        self._queue.push(0, queued)
        return True

    def _start_upload(self) -> tuple[ForwardedBatch, Callable[[], Tensor]] | None:
        if not self._host:
            return None
        started = self._host[0], self._executor.upload(self._host[0].pixels)
        self._host.popleft()  # only now, because the upload may be out of memory
        return started

    def _run(
        self,
        pop: Callable[[], tuple[int, QueuedBatch] | None],
        thresholds: tuple[float, ...] | None,
    ) -> tuple[list[Predictions], list[Failure]]:
        self._thresholds = thresholds or self._default_thresholds
        predictions: list[Predictions] = []
        failures: list[Failure] = []
        while True:
            try:
                batch = pop()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._halve_batch_size(error)
                continue
            if batch is None:
                return predictions, failures
            position, images = batch
            if position == self._num_here:
                self._forward(position, images)
            else:
                self._run_or_split(position, images, predictions, failures)

    def _forward(self, position: int, images: QueuedBatch) -> None:
        """Brings images into the form in which they travel; out of memory, they wait again."""
        try:
            state = None
            if images.state is not None:
                state = encode_state(images.state, self._state_format)
            pixels = images.pixels.cpu().numpy()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._queue.push(position, images)
            self._halve_batch_size(error)
        else:
            self._forwarded.append(
                ForwardedBatch(
                    images.row_ids,
                    pixels,
                    state,
                    images.confidences,
                    images.held,
                    images.embeddings,
                )
            )

    def _run_or_split(
        self,
        position: int,
        batch: QueuedBatch,
        predictions: list[Predictions],
        failures: list[Failure],
    ) -> None:
        """Runs a batch; halves one that raises until the image that causes it is alone."""
        stage = self._first + position
        try:
            predictions += self._run_batch(position, batch)
        except Exception as error:
            if is_out_of_memory(error):
                self._halve_batch_size(error)
                self._queue.push(position, batch)
                return
            if is_device_failure(error):
                raise  # all further calls would fail too: the process must restart
            if len(batch) == 1:
                detail = f"stage {stage + 1} raised {type(error).__name__}: {error}"
                self._fail(batch, detail, predictions, failures)
                return
            logger.warning("stage %d raised %r on %d images; halving", stage + 1, error, len(batch))
            middle = len(batch) // 2
            self._run_or_split(position, batch.cut(0, middle), predictions, failures)
            self._run_or_split(position, batch.cut(middle, len(batch)), predictions, failures)

    def _fail(
        self,
        image: QueuedBatch,
        detail: str,
        predictions: list[Predictions],
        failures: list[Failure],
    ) -> None:
        """One image fails, unless it is here for an audit only and has its prediction."""
        if image.held is None or not image.held.has_prediction[0]:
            failures.append(Failure(int(image.row_ids[0]), detail))
        else:
            logger.warning("an audited image keeps its early prediction: %s", detail)
            held = image.held, image.row_ids, image.confidences, image.embeddings
            predictions.append(Predictions.from_held(*held))

    def _halve_batch_size(self, error: Exception) -> None:
        if self._batch_size == 1:
            raise error
        self._batch_size //= 2
        self._queue.batch_size = self._batch_size
        logger.warning("out of memory; the batch size is now %d", self._batch_size)

    @torch.inference_mode()
    def _run_batch(self, position: int, batch: QueuedBatch) -> list[Predictions]:
        """One forward pass: queues the images that continue, returns the others' predictions."""
        stage, started_s = self._first + position, time.perf_counter()
        output = self._executor.run(stage, batch.pixels, batch.state, self._batch_size)
        # The device still computes now; the next images are uploaded meanwhile.
        self._uploading = self._uploading or self._start_upload()
        scores_nC = scores(output.logits)
        signal_n, label_n = confidence(scores_nC, self._parts)
        # Raised above all others, the label comes first: equal scores have no order in `topk`, and
        # the most probable class may lie outside the part that the image is sure of.
        ranked_nC = scores_nC.scatter(1, label_n.unsqueeze(1), 2.0)
        top_nk = ranked_nC.topk(self._top_k, dim=-1).indices
        results = (
            signal_n,
            top_nk,
            scores_nC.gather(1, top_nk),
            group_scores(scores_nC, self._membership),
        )
        # The only synchronisation with the device in a batch.
        confidence_n, top_labels, top_scores, groups_nG = (part.cpu() for part in results)
        exits_n = exit_mask(confidence_n, self._thresholds[stage]).numpy()
        confidences = np.concatenate([batch.confidences, confidence_n.numpy()[:, None]], axis=1)
        embeddings = batch.embeddings
        if stage == 0 and self._executor.embedder is not None and output.embedding is not None:
            embeddings = output.embedding.cpu().numpy()
        held = batch.held
        if held is not None and stage + 1 < self._executor.spec.num_stages:
            answers = top_labels.numpy(), top_scores.numpy(), groups_nG.numpy()
            held, exits_n = held.hold(exits_n, stage + 1, *answers)
        staying = np.flatnonzero(~exits_n)
        if len(staying):
            on_device = torch.from_numpy(staying).to(batch.pixels.device)
            survivors = QueuedBatch(
                batch.row_ids[staying],
                batch.pixels[on_device],
                None if output.state is None else output.state[on_device],
                confidences[staying],
                None if held is None else held[staying],
                None if embeddings is None else embeddings[staying],
            )
            self._queue.push(position + 1, survivors)
        num_audited = 0 if batch.held is None else int(batch.held.is_audited.sum())
        seconds = time.perf_counter() - started_s
        self._work[position] += StageWork(len(batch), len(staying), seconds, num_audited)
        if not exits_n.any():
            return []
        exited = Predictions(
            row_ids=batch.row_ids[exits_n],
            top_label_ids=top_labels.numpy()[exits_n],
            top_scores=top_scores.numpy()[exits_n],
            group_scores=groups_nG.numpy()[exits_n],
            exit_stage=stage + 1,
            exit_confidences=confidences[exits_n],
            embeddings=None if embeddings is None else embeddings[exits_n],
        )
        return [exited] if held is None else exited.with_audit(held[exits_n])
