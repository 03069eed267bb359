"""The cascade as one step of somebody else's pipeline: a class for Ray Data's `map_batches`.

    import ray
    from pipeline import CascadePredictor

    answers = ray.data.read_parquet("pictures/").map_batches(
        CascadePredictor,
        fn_constructor_kwargs={"model": "shapes"},
        batch_size=2048,
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=4,
    )

Ray Data never tells an actor that the last batch has passed. What a call held back for company
would be lost at the end, so a call answers its own rows and no others: a staged queue inside it
refills the deeper stages from the whole batch, and the last pass of every stage runs with holes.
On average a call wastes half a pass of each stage but the first. With t_i the time of stage i, r_i
the share of rows that reach it, and k passes of the first stage to a call, it takes

    (r_1 t_1 + r_2 t_2 + …) / (r_1 t_1 + r_2 t_2 + … + (t_2 + t_3 + …) / 2k)

of what a queue without end would save: for the paper's T2T-ViT-12 with exits 60/25/15 (times
20/44/88) 86 % at k = 8, 92 % at 16, 96 % at 32. Hence `batch_size` of 32 times `model_batch_size`
where the pixels fit (2,048 rows of 224 pixels are 300 MB), and a smaller `model_batch_size` where
the device is as fast with it, as processors are. `dvt tag` keeps one queue for a whole run.

Knows torch and Arrow, nothing of Ray: it is called with a batch, and returns one.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import dvt
from dvt.device import best_device, inference_dtype
from dvt.inference import make_executor
from pipeline.cascade.batches import Predictions
from pipeline.cascade.runner import CascadeRunner
from pipeline.decoding import decode
from pipeline.errors import ImageError, Reason
from pipeline.records import DEAD_LETTERS_SCHEMA, TAGS_SCHEMA
from pipeline.runtime.resource_plan import decode_settings

__all__ = ["ANSWER_SCHEMA", "CascadePredictor"]

ANSWER_SCHEMA = pa.schema(
    [
        *(
            TAGS_SCHEMA.field(name)
            for name in (
                "label",
                "label_id",
                "confidence",
                "exit_stage",
                "exit_confidences",
                "gmacs",
            )
        ),
        *(DEAD_LETTERS_SCHEMA.field(name) for name in ("reason", "detail")),
    ]
)


class CascadePredictor:
    """Predictions batches of pictures, row by row and in their order, each at its first sure exit.

    Threads are those of torch: in Ray Data as many as the actor's `num_cpus`.

    Args:
        model: a shipped name, a checkpoint folder, or a published file.
        thresholds: one for each exit but the last; None for the model's own.
        image_column: holds the pictures.
        prefix: put before the names of the answer's columns.
        model_batch_size: images per forward pass; shorter passes are padded to it.

    Raises:
        ValueError: the model or its thresholds are unusable, or a number is out of range.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        thresholds: Sequence[float] | None = None,
        image_column: str = "image",
        prefix: str = "",
        model_batch_size: int = 64,
    ) -> None:
        if model_batch_size < 1:
            raise ValueError(f"model_batch_size: must be at least 1 (got {model_batch_size})")
        cascade = dvt.load_model(model)
        config, device = cascade.config, best_device()
        self._thresholds = cascade.thresholds(thresholds)
        self._image_column = image_column
        self._prefix = prefix
        self._model_batch_size = model_batch_size
        self._decoding = decode_settings(config)
        self._labels = np.array(
            cascade.labels or [str(number) for number in range(config.num_classes)], dtype=object
        )
        self._gmacs = np.array((0.0, *dvt.gmacs_per_exit(config)), dtype=np.float32)
        self._executor = make_executor(cascade, device, inference_dtype(device))

    def __call__(self, batch: Mapping[str, Any] | pa.Table) -> pa.Table:
        """Answers one batch.

        Args:
            batch: columns by name, as numpy arrays (Ray Data's default) or as a table
                (`batch_format="pyarrow"`, which passes the other columns on without any
                conversion). The pictures are uint8 pixels [n, S, S, 3] of the model's size S, or
                the bytes of files in any format that is decoded here.

        Returns:
            The other columns, and those of `ANSWER_SCHEMA`: a table, so that every batch has the
            same types. A picture that cannot be read, or on which the model fails, has null for
            an answer, and a reason; `reason` and `detail` are null for all others.

        Raises:
            ValueError: the batch has no such column, it holds something else, or the batch has a
                column of a name that the answer needs.
        """
        columns: Mapping[str, Any] = batch
        if isinstance(batch, pa.Table):
            columns = dict(zip(batch.column_names, batch.columns, strict=True))
        self._check_names(columns)
        passed_on = {
            name: _as_arrow(name, values)
            for name, values in columns.items()
            if name != self._image_column
        }
        images = _as_numpy(columns[self._image_column])
        failed: dict[int, tuple[str, str]] = {}
        rows, pixels = self._pixels(images, failed)
        answers = self._run(rows, pixels, failed)
        return pa.table(passed_on | self._answer_columns(len(images), answers, failed))

    def _check_names(self, columns: Mapping[str, Any]) -> None:
        if self._image_column not in columns:
            names = ", ".join(map(repr, columns)) or "none at all"
            raise ValueError(
                f"image_column: must be a column of the batch, which has {names} "
                f"(got {self._image_column!r})"
            )
        for name in ANSWER_SCHEMA.names:
            if self._prefix + name in columns and self._prefix + name != self._image_column:
                raise ValueError(
                    f"prefix: must keep the answer's columns apart from the batch's own, which "
                    f"has {self._prefix + name!r} already (got {self._prefix!r})"
                )

    def _pixels(
        self, images: NDArray[Any] | list[Any], failed: dict[int, tuple[str, str]]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Rows that have pixels, and these [n, S, S, 3]."""
        size = self._decoding.crop
        if isinstance(images, np.ndarray) and images.dtype != object and len(images):
            if images.dtype == np.uint8 and images.shape[1:] == (size, size, 3):
                return np.arange(len(images)), images
            raise self._wrong_images(f"{images.dtype} {list(images.shape)}")
        rows: list[int] = []
        pixels = [np.empty((0, size, size, 3), np.uint8)]
        for row, content in enumerate(images):
            if content is not None and not isinstance(content, bytes | bytearray | memoryview):
                raise self._wrong_images(f"{type(content).__name__} in row {row}")
            try:
                if content is None:
                    raise ImageError(Reason.FETCH_FAILED, "the row holds no bytes")
                pixels.append(decode(bytes(content), self._decoding).pixels[None])
            except ImageError as error:
                failed[row] = (error.reason.value, error.detail)
            else:
                rows.append(row)
        return np.array(rows, dtype=np.int64), np.concatenate(pixels)

    def _wrong_images(self, got: str) -> ValueError:
        size = self._decoding.crop
        return ValueError(
            f"{self._image_column}: must be uint8 pixels [n, {size}, {size}, 3], or bytes of "
            f"encoded pictures (got {got})"
        )

    def _run(
        self,
        rows: NDArray[np.int64],
        pixels_nSS3: NDArray[np.uint8],
        failed: dict[int, tuple[str, str]],
    ) -> list[Predictions]:
        # A runner of its own: what an earlier call left behind when it raised must not come out.
        runner = CascadeRunner(self._executor, self._thresholds, self._model_batch_size, top_k=1)
        runner.add(rows, pixels_nSS3)
        with warnings.catch_warnings():
            # Ray hands its memory out read-only, and nothing here writes into it.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            answers, failures = runner.flush()
        self._model_batch_size = runner.batch_size
        for failure in failures:
            failed[failure.row_id] = (Reason.MODEL_FAILED.value, failure.detail)
        return answers

    def _answer_columns(
        self, num_rows: int, answers: list[Predictions], failed: dict[int, tuple[str, str]]
    ) -> dict[str, pa.Array]:
        missing = np.ones(num_rows, dtype=bool)
        label_id, exit_stage = np.zeros(num_rows, np.int32), np.zeros(num_rows, np.int8)
        confidence = np.zeros(num_rows, np.float32)
        exit_confidences = np.full(num_rows, None, dtype=object)
        for answer in answers:
            rows = answer.row_ids
            missing[rows] = False
            label_id[rows] = answer.top_label_ids[:, 0]
            confidence[rows] = answer.top_scores[:, 0]
            exit_stage[rows] = answer.exit_stage
            for row, values in zip(rows, answer.exit_confidences, strict=True):
                exit_confidences[row] = values
        values_of = {
            "label": self._labels[label_id],
            "label_id": label_id,
            "confidence": confidence,
            "exit_stage": exit_stage,
            "exit_confidences": exit_confidences,
            "gmacs": self._gmacs[exit_stage],
        }
        columns = {
            name: pa.array(values, ANSWER_SCHEMA.field(name).type, mask=missing)
            for name, values in values_of.items()
        }
        why = [failed.get(row, (None, None)) for row in range(num_rows)]
        columns["reason"] = pa.array([reason for reason, _ in why], pa.string())
        columns["detail"] = pa.array([detail for _, detail in why], pa.string())
        return {self._prefix + name: column for name, column in columns.items()}


def _as_numpy(column: Any) -> NDArray[Any] | list[Any]:
    """A column as an array, or as a list of the bytes in it."""
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    if not isinstance(column, pa.ChunkedArray):
        # numpy's own bytes cut zeros off their end, and a list may hold anything.
        return column if isinstance(column, np.ndarray) else list(column)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        contents: list[Any] = column.to_pylist()
        return contents
    chunks = [
        chunk.to_numpy_ndarray()
        if isinstance(chunk, pa.FixedShapeTensorArray)
        else chunk.to_numpy(zero_copy_only=False)
        for chunk in column.chunks
    ]
    if len(chunks) == 1:
        only: NDArray[Any] = chunks[0]
        return only
    return np.concatenate(chunks) if chunks else []


def _as_arrow(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    """A column that is passed on."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    try:
        if isinstance(values, np.ndarray) and values.ndim > 1:
            return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: cannot be passed on as a column of Arrow; batch_format='pyarrow' passes any "
            f"column on as it is ({' '.join(str(error).split())})"
        ) from error
