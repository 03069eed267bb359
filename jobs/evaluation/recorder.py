"""Records the exits of a model on images: all that curves and thresholds need.

A data set of any size is recorded as a stream: of each image, only a confidence and an answer per
exit are kept. Shapes: E exits, n images, S the model's image size.
"""

import time
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray

from dvt.calibration import RecordedExits
from dvt.device import best_device
from dvt.errors import ModelError
from dvt.exits import confidence
from dvt.inference import StageExecutor, exit_scores
from dvt.labels import SureOf
from dvt.model import Model
from jobs.datasets import (
    ClassIds,
    LabelledPictures,
    LabelledSource,
    check_labels,
    check_readable,
    in_batches,
    open_labelled,
)
from pipeline.progress import Progress, ProgressListener
from pipeline.runtime.resource_plan import decode_settings

__all__ = ["ExitRecorder", "evaluate_images", "is_in_second_half"]


class ExitRecorder:
    """A model ready to record its exits.

    Args:
        model: is moved to the best device of this machine and cast.
        dtype: precision; None for what `dvt tag` uses on this machine.
        batch_size: images per forward pass.
        sure_of: what an answer is: a label, or the part of the classes that it belongs to.

    Raises:
        ModelError: `sure_of` is "group", and the model has no groups.
    """

    def __init__(
        self,
        model: Model,
        dtype: torch.dtype | None = None,
        batch_size: int = 128,
        sure_of: SureOf = "label",
    ) -> None:
        self._model_digest = model.digest()  # before the executor casts the weights
        device = best_device()
        self._executor = model.make_executor(device, dtype or model.inference_dtype(device))
        self._batch_size = batch_size
        self._signal = model.groups.signal(sure_of)
        self._parts = model.groups.parts(sure_of)
        self._part_ids = np.array(model.groups.part_ids(sure_of))
        self._ids = ClassIds.of_model(model.spec.num_classes, model.labels)
        self._decode = decode_settings(model.spec)

    def record_labelled(self, data: str, on_progress: ProgressListener) -> RecordedExits:
        """Records a labelled data set.

        Args:
            data: name of the data set, see `jobs.datasets`.
            on_progress: called after each batch.

        Raises:
            UsageError: the data cannot be used, or have a class that the model lacks.
            ModelError: a confidence is not a number.
        """
        source = open_labelled(data)
        num_images = check_labels(source, self._ids)
        return self.record(source, self._ids, data, on_progress, num_images)

    def record(
        self,
        source: LabelledSource,
        ids: ClassIds | None,
        data: str,
        on_progress: ProgressListener,
        num_images: int | None = None,
    ) -> RecordedExits:
        """Records a stream of images; memory does not grow with their size.

        Args:
            source: of the images.
            ids: class ids of their labels; None to ignore the labels.
            data: name of the images, kept with the record.
            on_progress: called after each batch.
            num_images: for the progress; None if not known.

        Raises:
            UsageError: the data cannot be used, or have a class that the model lacks.
            ModelError: a confidence is not a number.
        """
        started = time.monotonic()
        parts: list[RecordedExits] = []
        num_recorded = num_unreadable = 0
        for batch in in_batches(source.batches(self._decode), self._batch_size):
            labels = None if ids is None else [ids.id_of(label) for label in batch.labels]
            parts.append(
                self._recorded(batch.pixels, labels, batch.keys, data, batch.num_unreadable)
            )
            num_recorded += len(batch.keys)
            num_unreadable += batch.num_unreadable
            elapsed_s = time.monotonic() - started
            on_progress(Progress(num_images, 0, num_recorded, num_unreadable, (), elapsed_s))
        check_readable(data, num_recorded, num_unreadable)
        return RecordedExits.join(parts)

    def record_images(self, images: LabelledPictures, data: str) -> RecordedExits:
        """Records images in memory, labelled with the model's class ids.

        Args:
            images: at least one.
            data: name of the images, kept with the record.

        Raises:
            ModelError: a confidence is not a number.
        """
        return self._recorded(
            images.pixels, images.labels, images.keys, data, images.num_unreadable
        )

    def _recorded(
        self,
        pixels_nSS3: NDArray[np.uint8],
        labels: Sequence[int] | NDArray[np.int64] | None,
        keys: Sequence[str],
        data: str,
        num_unreadable: int,
    ) -> RecordedExits:
        spec = self._executor.spec
        scores_EnC = np.empty((spec.num_stages, 0, spec.num_classes), np.float32)
        if keys:
            scores_EnC = exit_scores(self._executor, pixels_nSS3, self._batch_size)
        if not np.isfinite(scores_EnC).all():
            raise ModelError("confidence: is not a number; the weights or an image overflow")
        signal, labels_En = confidence(torch.from_numpy(scores_EnC), self._parts)
        answers_En = self._part_ids[labels_En.numpy()]
        true = None if labels is None else self._part_ids[np.asarray(labels, dtype=np.int64)]
        return RecordedExits(
            confidences=signal.numpy(),
            agrees=answers_En == answers_En[-1],
            correct=None if true is None else answers_En == true,
            in_second_half=np.array([is_in_second_half(key) for key in keys], dtype=np.bool_),
            model_digest=self._model_digest,
            dtype=str(self._executor.dtype).removeprefix("torch."),
            data=data,
            num_unreadable=num_unreadable,
            signal=self._signal,
        )


def evaluate_images(
    executor: StageExecutor, pixels_nSS3: NDArray[np.uint8], labels_n: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Confidences and correctness, each [E, n], of images in memory with class ids [n]."""
    scores_EnC = exit_scores(executor, pixels_nSS3)
    return scores_EnC.max(axis=-1), scores_EnC.argmax(axis=-1) == labels_n


def is_in_second_half(key: str) -> bool:
    """One bit of a hash: the same on every machine, independent of the order of the images."""
    digest = blake2b(key.encode("utf-8", "surrogateescape"), digest_size=1).digest()
    return bool(digest[0] & 1)
