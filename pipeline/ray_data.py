"""The cascade as one step of a Ray Data pipeline: a class for `map_batches`.

    import ray
    from pipeline import CascadePredictor

    predictions = ray.data.read_parquet("pictures/").map_batches(
        CascadePredictor,
        fn_constructor_kwargs={"model": "shapes"},
        batch_size=2048,
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=4,
    )

Ray Data does not mark the last batch of an actor, so a call must return predictions for all of its
rows. A staged queue inside the call refills the deeper stages; only the last pass of each
stage is partial. On average a call wastes half a pass of each stage but the first. With t_i the
time of stage i, r_i the share of rows that reach it, and k passes of the first stage per call, the
saving is

    (r_1 t_1 + r_2 t_2 + …) / (r_1 t_1 + r_2 t_2 + … + (t_2 + t_3 + …) / 2k)

of that with an endless queue: for the paper's T2T-ViT-12 with exits 60/25/15 (times 20/44/88) 86 %
at k = 8, 92 % at 16, 96 % at 32. Choose `batch_size` about 32 times `model_batch_size` if the
pixels fit (2,048 rows of 224 pixels are 300 MB), and a small `model_batch_size` where the device is
as fast with it, as CPUs are. `dvt tag` keeps one queue for a whole run.

Needs torch and Arrow, not Ray.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import dvt
from dvt.device import best_device
from dvt.labels import SureOf
from pipeline.cascade.batches import Predictions
from pipeline.cascade.runner import CascadeRunner
from pipeline.cascade.tag_rows import group_columns
from pipeline.decoding import decode
from pipeline.errors import ImageError, Reason
from pipeline.records import DEAD_LETTERS_SCHEMA, GROUP_COLUMNS, TAGS_SCHEMA
from pipeline.runtime.resource_plan import decode_settings

__all__ = ["PREDICTION_SCHEMA", "CascadePredictor"]

PREDICTION_SCHEMA = pa.schema(
    [
        *(
            TAGS_SCHEMA.field(name)
            for name in (
                "label",
                "label_id",
                "confidence",
                *GROUP_COLUMNS,
                "exit_stage",
                "exit_confidences",
                "gmacs",
            )
        ),
        *(DEAD_LETTERS_SCHEMA.field(name) for name in ("reason", "detail")),
    ]
)


class CascadePredictor:
    """Predicts a label for each picture of a batch, in the order of the rows.

    Uses the threads of torch: in Ray Data as many as the actor's `num_cpus`.

    Args:
        model: a shipped name, a checkpoint folder, a published file, or a loaded model, which is
            moved to the best device and cast.
        thresholds: one for each exit but the last; None for those of the model.
        image_column: name of the column with the pictures.
        prefix: prepended to the names of the added columns.
        model_batch_size: images per forward pass; shorter batches are padded to it.
        sure_of: what the thresholds apply to; with "group" give some that are made for it.

    Raises:
        ValueError: the model or its thresholds cannot be used, or a number is out of range.
    """

    def __init__(
        self,
        model: str | Path | dvt.Model,
        *,
        thresholds: Sequence[float] | None = None,
        image_column: str = "image",
        prefix: str = "",
        model_batch_size: int = 64,
        sure_of: SureOf = "label",
    ) -> None:
        if model_batch_size < 1:
            raise ValueError(f"model_batch_size: must be at least 1 (got {model_batch_size})")
        cascade = model if isinstance(model, dvt.Model) else dvt.load_model(model)
        device = best_device()
        self._thresholds = cascade.thresholds(thresholds, sure_of)
        self._image_column = image_column
        self._prefix = prefix
        self._model_batch_size = model_batch_size
        self._decoding = decode_settings(cascade.spec)
        self._labels = np.array(cascade.label_names, dtype=object)
        self._gmacs = np.array((0.0, *cascade.spec.gmacs_per_exit), dtype=np.float32)
        self._groups, self._sure_of = cascade.groups, sure_of
        self._executor = cascade.make_executor(device, cascade.inference_dtype(device))

    def __call__(self, batch: Mapping[str, Any] | pa.Table) -> pa.Table:
        """Predicts one batch.

        Args:
            batch: columns by name, as numpy arrays (Ray Data's default) or as a table
                (`batch_format="pyarrow"`, which leaves the other columns unconverted). The pictures
                are uint8 pixels [n, S, S, 3] with the model's size S, or encoded files as bytes.

        Returns:
            The other columns, and those of `PREDICTION_SCHEMA`, as a table, so that every batch has
            the same types. Where a picture cannot be read, or the model fails on it, only `reason`
            and `detail` are set; elsewhere these two are null.

        Raises:
            ValueError: the column of the pictures is missing or holds something else, or another
                column has the name of an added one.
        """
        columns: Mapping[str, Any] = batch
        if isinstance(batch, pa.Table):
            columns = dict(zip(batch.column_names, batch.columns, strict=True))
        self._check_names(columns)
        others = {
            name: _as_arrow(name, values)
            for name, values in columns.items()
            if name != self._image_column
        }
        images = _as_numpy(columns[self._image_column])
        failed: dict[int, tuple[str, str]] = {}
        rows, pixels = self._pixels(images, failed)
        predictions = self._predict(rows, pixels, failed)
        return pa.table(others | self._prediction_columns(len(images), predictions, failed))

    def _check_names(self, columns: Mapping[str, Any]) -> None:
        if self._image_column not in columns:
            names = ", ".join(map(repr, columns)) or "none at all"
            raise ValueError(
                f"image_column: must be a column of the batch, which has {names} "
                f"(got {self._image_column!r})"
            )
        for name in PREDICTION_SCHEMA.names:
            if self._prefix + name in columns and self._prefix + name != self._image_column:
                raise ValueError(
                    f"prefix: must give the added columns new names, but the batch has "
                    f"{self._prefix + name!r} already (got {self._prefix!r})"
                )

    def _pixels(
        self, images: NDArray[Any] | list[Any], failed: dict[int, tuple[str, str]]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Rows with readable pictures, [n], and their pixels, [n, S, S, 3]."""
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

    def _predict(
        self,
        rows: NDArray[np.int64],
        pixels_nSS3: NDArray[np.uint8],
        failed: dict[int, tuple[str, str]],
    ) -> list[Predictions]:
        # A new runner, because a call that raised may have left images in its own.
        runner = CascadeRunner(
            self._executor,
            self._thresholds,
            self._model_batch_size,
            top_k=1,
            groups=self._groups,
            sure_of=self._sure_of,
        )
        runner.add(rows, pixels_nSS3)
        with warnings.catch_warnings():
            # Arrays from Ray are read-only, and nothing here writes into them.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            predictions, failures = runner.flush()
        self._model_batch_size = runner.batch_size
        for failure in failures:
            failed[failure.row_id] = (Reason.MODEL_FAILED.value, failure.detail)
        return predictions

    def _prediction_columns(
        self, num_rows: int, predictions: list[Predictions], failed: dict[int, tuple[str, str]]
    ) -> dict[str, pa.Array]:
        missing = np.ones(num_rows, dtype=bool)
        label_id, exit_stage = np.zeros(num_rows, np.int32), np.zeros(num_rows, np.int8)
        confidence = np.zeros(num_rows, np.float32)
        group_scores = np.zeros((num_rows, len(self._groups)), np.float32)
        exit_confidences = np.full(num_rows, None, dtype=object)
        for batch in predictions:
            rows = batch.row_ids
            missing[rows] = False
            label_id[rows] = batch.top_label_ids[:, 0]
            confidence[rows] = batch.top_scores[:, 0]
            group_scores[rows] = batch.group_scores
            exit_stage[rows] = batch.exit_stage
            for row, values in zip(rows, batch.exit_confidences, strict=True):
                exit_confidences[row] = values
        values_of = {
            "label": self._labels[label_id],
            "label_id": label_id,
            "confidence": confidence,
            "exit_stage": exit_stage,
            "exit_confidences": exit_confidences,
            "gmacs": self._gmacs[exit_stage],
        }
        groups = group_columns(group_scores, self._groups.names)
        columns = {
            name: pa.array(values, PREDICTION_SCHEMA.field(name).type, mask=missing)
            for name, values in values_of.items()
        } | {name: pc.if_else(missing, None, column) for name, column in groups.items()}
        reasons = [failed.get(row, (None, None)) for row in range(num_rows)]
        columns["reason"] = pa.array([reason for reason, _ in reasons], pa.string())
        columns["detail"] = pa.array([detail for _, detail in reasons], pa.string())
        return {self._prefix + name: columns[name] for name in PREDICTION_SCHEMA.names}


def _as_numpy(column: Any) -> NDArray[Any] | list[Any]:
    """A column as an array, or as a list of bytes."""
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    if not isinstance(column, pa.ChunkedArray):
        # A list stays a list, because numpy's bytes type drops trailing zeros.
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
    """A column to return unchanged."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    try:
        if isinstance(values, np.ndarray) and values.ndim > 1:
            return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: cannot be converted to an Arrow column; batch_format='pyarrow' needs no "
            f"conversion ({' '.join(str(error).split())})"
        ) from error
