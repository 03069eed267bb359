"""What the exits of a model said about labelled pictures: all that curves and thresholds need.

A data set of any size is judged as a stream: of each image only one confidence and one answer's
correctness per exit are kept. Shapes: E exits, n images, S the model's image size.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from dvt.calibration import HeldOut
from dvt.errors import ModelError
from dvt.inference import StageExecutor, exit_scores
from jobs.datasets import (
    ClassIds,
    DecodedPart,
    LabelledPictures,
    LabelledSource,
    check_labels,
    check_readable,
    decoded_parts,
    open_labelled,
)
from pipeline.progress import Progress, ProgressListener
from pipeline.runtime.resource_plan import decode_settings

__all__ = ["ExitRecord", "held_out_of", "judged", "record_exits", "record_held_out"]


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """Figures of n images.

    Attributes:
        confidences: largest softmax probability, [E, n] float32.
        correct: whether the answer is right, [E, n].
        in_second_half: which half of the data an image belongs to, [n]; from its key alone.
        num_unreadable: images that were left out.
    """

    confidences: NDArray[np.float32]
    correct: NDArray[np.bool_]
    in_second_half: NDArray[np.bool_]
    num_unreadable: int = 0

    @property
    def num_images(self) -> int:
        """Images that were judged."""
        return len(self.in_second_half)

    @property
    def accuracy_per_exit(self) -> tuple[float, ...]:
        """Top-1 as a fraction, if all images left at that exit."""
        return tuple(float(value) for value in self.correct.mean(axis=1))

    def halves(self) -> tuple["ExitRecord", "ExitRecord"]:
        """The images of either half; one may be empty where there are few."""
        one, other = (
            ExitRecord(self.confidences[:, rows], self.correct[:, rows], self.in_second_half[rows])
            for rows in (~self.in_second_half, self.in_second_half)
        )
        return one, other


def judged(
    executor: StageExecutor,
    pixels_nSS3: NDArray[np.uint8],
    labels_n: NDArray[np.int64],
    batch_size: int = 128,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Confidences and correctness, each [E, n], of pictures in memory with class ids [n]."""
    scores_EnC = exit_scores(executor, pixels_nSS3, batch_size)
    return scores_EnC.max(axis=-1), scores_EnC.argmax(axis=-1) == labels_n


def held_out_of(
    executor: StageExecutor,
    digest: str,
    pictures: LabelledPictures,
    data: str,
    batch_size: int = 128,
) -> HeldOut:
    """What the exits say about labelled pictures in memory, for calibrations.

    Args:
        executor: the model on its device, in its precision.
        digest: of the model.
        pictures: that it was not trained on, with its classes.
        data: name of the pictures, for the record.
        batch_size: images per forward pass.

    Raises:
        ModelError: a confidence is not a number.
    """
    scores_EnC = exit_scores(executor, pictures.pixels, batch_size)
    part = _JudgedPart(
        scores_EnC.max(axis=-1),
        scores_EnC.argmax(axis=-1),
        pictures.labels,
        np.array([_is_in_second_half(key) for key in pictures.keys], dtype=np.bool_),
        pictures.num_unreadable,
    )
    return _as_held_out([part], executor, digest, data, has_labels=True)


def record_exits(
    executor: StageExecutor,
    names: Sequence[str] | None,
    data: str,
    batch_size: int,
    on_progress: ProgressListener,
) -> ExitRecord:
    """Judges a data set while it is read; memory does not grow with its pictures' size.

    Args:
        executor: the model on its device, in its precision.
        names: the model's class names, if it has any.
        data: a data set, see `jobs.datasets`.
        batch_size: images per forward pass.
        on_progress: told after every few batches.

    Raises:
        UsageError: the data cannot be used, or have a class that the model lacks.
    """
    settings = decode_settings(executor.config)
    source = open_labelled(data, settings.max_bytes)
    ids = ClassIds.of_model(executor.config.num_classes, names)
    num_images = check_labels(source, ids)
    parts = list(_judged(executor, source, ids, batch_size, on_progress, num_images))
    num_judged = sum(len(part.in_second_half) for part in parts)
    num_unreadable = sum(part.num_unreadable for part in parts)
    check_readable(data, num_judged, num_unreadable)
    answers = np.concatenate([part.answers for part in parts], axis=1)
    return ExitRecord(
        np.concatenate([part.confidences for part in parts], axis=1),
        answers == np.concatenate([part.labels for part in parts]),
        np.concatenate([part.in_second_half for part in parts]),
        num_unreadable,
    )


def record_held_out(
    executor: StageExecutor,
    digest: str,
    source: LabelledSource,
    ids: ClassIds | None,
    data: str,
    batch_size: int,
    on_progress: ProgressListener,
) -> HeldOut:
    """Judges pictures with or without labels, for a calibration.

    Args:
        executor: the model on its device, in its precision.
        digest: of the model.
        source: of the pictures.
        ids: finds the classes of their labels; None to look at no label.
        data: name of the pictures, for the record.
        batch_size: images per forward pass.
        on_progress: told after every few batches.

    Raises:
        UsageError: the data cannot be used, or have a class that the model lacks.
        ModelError: a confidence is not a number.
    """
    parts = list(_judged(executor, source, ids, batch_size, on_progress))
    num_unreadable = sum(part.num_unreadable for part in parts)
    check_readable(data, sum(len(part.in_second_half) for part in parts), num_unreadable)
    return _as_held_out(parts, executor, digest, data, has_labels=ids is not None)


@dataclass(frozen=True, slots=True)
class _JudgedPart:
    """Of some images: confidences and answers [E, n], labels (-1 for none) and halves [n]."""

    confidences: NDArray[np.float32]
    answers: NDArray[np.int64]
    labels: NDArray[np.int64]
    in_second_half: NDArray[np.bool_]
    num_unreadable: int


def _as_held_out(
    parts: Sequence[_JudgedPart], executor: StageExecutor, digest: str, data: str, has_labels: bool
) -> HeldOut:
    confidences = np.concatenate([part.confidences for part in parts], axis=1)
    if not np.isfinite(confidences).all():
        raise ModelError("confidence: is not a number; the weights or an image overflow")
    answers = np.concatenate([part.answers for part in parts], axis=1)
    labels = np.concatenate([part.labels for part in parts])
    return HeldOut(
        confidences=confidences,
        agrees=answers == answers[-1],
        correct=answers == labels if has_labels else None,
        in_second_half=np.concatenate([part.in_second_half for part in parts]),
        model_digest=digest,
        dtype=str(executor.dtype).removeprefix("torch."),
        data=data,
        num_unreadable=sum(part.num_unreadable for part in parts),
    )


def _judged(
    executor: StageExecutor,
    source: LabelledSource,
    ids: ClassIds | None,
    batch_size: int,
    on_progress: ProgressListener,
    num_images: int | None = None,
) -> Iterator[_JudgedPart]:
    started = time.monotonic()
    num_judged = num_unreadable = 0
    for batch in _in_batches(decoded_parts(source, decode_settings(executor.config)), batch_size):
        num_unreadable += batch.num_unreadable
        labels = [-1 if ids is None else ids.id_of(label) for label in batch.labels]
        num_exits = executor.config.num_stages
        scores_EnC = np.empty((num_exits, 0, executor.config.num_classes), np.float32)
        if batch.keys:
            scores_EnC = exit_scores(executor, batch.pixels, batch_size)
        yield _JudgedPart(
            scores_EnC.max(axis=-1),
            scores_EnC.argmax(axis=-1),
            np.array(labels, dtype=np.int64),
            np.array([_is_in_second_half(key) for key in batch.keys], dtype=np.bool_),
            batch.num_unreadable,
        )
        num_judged += len(batch.keys)
        elapsed_s = time.monotonic() - started
        on_progress(Progress(num_images, 0, num_judged, num_unreadable, (), elapsed_s))


def _is_in_second_half(key: str) -> bool:
    """One bit of a hash: the same on every machine, and blind to the order of the images."""
    digest = blake2b(key.encode("utf-8", "surrogateescape"), digest_size=1).digest()
    return bool(digest[0] & 1)


def _in_batches(parts: Iterable[DecodedPart], size: int) -> Iterator[DecodedPart]:
    """The same samples, in parts of whole batches; only the last may hold less."""
    held: list[DecodedPart] = []
    for part in parts:
        held.append(part)
        num_held = sum(len(part.keys) for part in held)
        if num_held >= size:
            whole, rest = DecodedPart.join(held).split(num_held // size * size)
            yield whole
            held = [rest]
    if held:
        yield DecodedPart.join(held)
