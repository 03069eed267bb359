"""The cascade as a step of a Ray Data pipeline: called directly, and once by Ray Data."""

import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import dvt
from dvt.device import inference_dtype
from dvt.exits import FULL_DEPTH
from dvt.preprocess import normalise, pixels_to_unit
from jobs.datasets import load_labelled
from pipeline import CascadePredictor
from pipeline.errors import Reason
from pipeline.ray_data import PREDICTION_SCHEMA
from pipeline.runtime.resource_plan import decode_settings

BATCH = 16
NUM_IMAGES = 150  # nine passes and a bit


@pytest.fixture(scope="module")
def model() -> dvt.Cascade:
    return dvt.load_cascade("shapes")


@pytest.fixture(scope="module")
def pixels(model: dvt.Cascade) -> NDArray[np.uint8]:
    return load_labelled(f"shapes:{NUM_IMAGES}:21", decode_settings(model.spec)).pixels


@pytest.fixture(scope="module")
def expected(model: dvt.Cascade, pixels: NDArray[np.uint8]) -> dvt.Prediction:
    dtype = inference_dtype(torch.device("cpu"))
    images = normalise(pixels_to_unit(torch.from_numpy(pixels)), model.config.preprocess)
    return dvt.load_cascade("shapes").to(dtype).predict(images.to(dtype), batch_size=BATCH)


@pytest.fixture(scope="module")
def predictor() -> CascadePredictor:
    return CascadePredictor("shapes", model_batch_size=BATCH)


def encoded(pixels_SS3: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels_SS3).save(stream, "PNG")
    return stream.getvalue()


def assert_are(predictions: pa.Table, expected: dvt.Prediction, rows: slice = slice(None)) -> None:
    """Labels and exits of `predict`, in its order."""
    assert predictions["label_id"].to_pylist() == expected.labels[rows].tolist()
    assert predictions["exit_stage"].to_pylist() == expected.exit_stages[rows].tolist()
    np.testing.assert_allclose(
        predictions["confidence"].to_numpy(), expected.confidences[rows], rtol=0, atol=1e-5
    )


def test_labels_and_exits_are_those_of_predict_in_the_order_of_the_rows(
    predictor: CascadePredictor,
    model: dvt.Cascade,
    pixels: NDArray[np.uint8],
    expected: dvt.Prediction,
) -> None:
    predictions = predictor({"image": pixels})
    assert_are(predictions, expected)
    assert set(expected.exit_stages.tolist()) == {1, 2, 3}, "the mix must use all exits"
    assert model.labels is not None
    gmacs = model.spec.gmacs_per_exit
    for row in predictions.to_pylist():
        assert row["label"] == model.labels[row["label_id"]]
        assert row["gmacs"] == pytest.approx(gmacs[row["exit_stage"] - 1])
        assert len(row["exit_confidences"]) == row["exit_stage"]
        assert row["exit_confidences"][-1] == row["confidence"]
        assert row["reason"] is row["detail"] is None


def test_deeper_stages_run_full_passes_within_a_call(pixels: NDArray[np.uint8]) -> None:
    model = dvt.load_cascade("shapes")
    passes = [0, 0, 0]

    def count(number: int, _stage: torch.nn.Module, _inputs: object) -> None:
        passes[number] += 1

    for number, stage in enumerate(model.stages):
        stage.register_forward_pre_hook(partial(count, number))
    predictor = CascadePredictor(model, model_batch_size=BATCH)
    exits = predictor({"image": pixels})["exit_stage"].to_numpy()
    reached = [int((exits > stage).sum()) for stage in range(3)]
    assert passes == [-(-count // BATCH) for count in reached]


def test_a_call_returns_its_own_rows_and_keeps_none(
    predictor: CascadePredictor, pixels: NDArray[np.uint8], expected: dvt.Prediction
) -> None:
    for start in range(0, NUM_IMAGES, 37):
        rows = slice(start, start + 37)
        assert_are(predictor({"image": pixels[rows]}), expected, rows)


def test_other_columns_are_returned_and_the_pictures_are_not(
    predictor: CascadePredictor, pixels: NDArray[np.uint8]
) -> None:
    vectors = np.arange(20, dtype=np.float32).reshape(5, 4)
    batch = {"key": np.array(list("abcde"), object), "image": pixels[:5], "vector": vectors}
    predictions = predictor(batch)
    assert predictions.column_names == ["key", "vector", *PREDICTION_SCHEMA.names]
    assert predictions["key"].to_pylist() == list("abcde")
    np.testing.assert_array_equal(predictions["vector"].chunk(0).to_numpy_ndarray(), vectors)


def test_a_table_keeps_the_exact_types_of_its_other_columns(
    predictor: CascadePredictor, pixels: NDArray[np.uint8], expected: dvt.Prediction
) -> None:
    others = {
        "taken": pa.array([1, None, 3], pa.timestamp("us")),
        "place": pa.array([{"x": 1}, None, {"x": 2}]),
    }
    image = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels[:3])
    predictions = predictor(pa.table({**others, "image": image}))
    assert_are(predictions, expected, slice(0, 3))
    for name, values in others.items():
        assert predictions[name].combine_chunks() == values
    chunked = pa.chunked_array([image[:1], image[1:]])
    assert_are(predictor(pa.table({"image": chunked})), expected, slice(0, 3))


@pytest.mark.parametrize("as_column", [list, pa.array, lambda contents: np.array(contents, object)])
def test_a_damaged_file_is_a_row_with_a_reason_and_no_prediction(
    predictor: CascadePredictor,
    pixels: NDArray[np.uint8],
    expected: dvt.Prediction,
    as_column: Callable[[list[bytes | None]], object],
) -> None:
    files: list[bytes | None] = [encoded(picture) for picture in pixels[:40]]
    assert files[20] is not None
    damaged: dict[int, tuple[bytes | None, Reason]] = {
        3: (b"", Reason.TRUNCATED),
        7: (b"Dear Sir or Madam, " * 20, Reason.NOT_AN_IMAGE),
        20: (files[20][:-400], Reason.TRUNCATED),
        39: (None, Reason.FETCH_FAILED),
    }
    for row, (content, _) in damaged.items():
        files[row] = content
    column = as_column(files)
    batch = pa.table({"image": column}) if isinstance(column, pa.Array) else {"image": column}
    predictions = predictor(batch).to_pylist()
    assert len(predictions) == 40
    for number, row in enumerate(predictions):
        if number in damaged:
            assert row["reason"] == damaged[number][1]
            assert row["detail"]
            nulls = set(PREDICTION_SCHEMA.names) - {"reason", "detail"}
            assert {row[name] for name in nulls} == {None}
        else:
            assert row["reason"] is None
            assert row["label_id"] == expected.labels[number]
            assert row["exit_stage"] == expected.exit_stages[number]


def test_every_batch_has_the_same_types_whatever_is_null_in_it(
    predictor: CascadePredictor, pixels: NDArray[np.uint8]
) -> None:
    batches: list[Any] = [pixels[:2], [b"", None], [], np.empty((0,), object)]
    for images in batches:
        assert predictor({"image": images}).schema.equals(PREDICTION_SCHEMA)


def test_a_picture_on_which_the_model_fails_is_a_row_with_a_reason(
    pixels: NDArray[np.uint8],
) -> None:
    model = dvt.load_cascade("shapes")
    poisoned = pixels[:20].copy()
    poisoned[13] = 255

    def raise_on_poison(_stage: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if (inputs[0].flatten(1).std(dim=1) < 0.2).any():  # one colour
            raise RuntimeError("no kernel for this image")

    model.stages[1].register_forward_pre_hook(raise_on_poison)
    predictor = CascadePredictor(model, thresholds=(FULL_DEPTH,) * 2, model_batch_size=8)
    predictions = predictor({"image": poisoned}).to_pylist()
    failed = {number: row["reason"] for number, row in enumerate(predictions) if row["reason"]}
    assert failed == {13: Reason.MODEL_FAILED}
    assert "no kernel for this image" in predictions[13]["detail"]
    assert [row["exit_stage"] for row in predictions if row["label"]] == [3] * 19


def test_a_call_that_raised_leaves_nothing_to_the_next(
    pixels: NDArray[np.uint8], expected: dvt.Prediction
) -> None:
    model = dvt.load_cascade("shapes")

    def out_of_memory(_stage: torch.nn.Module, _inputs: object) -> None:
        raise MemoryError("no memory, however small the batch")

    hook = model.stages[0].register_forward_pre_hook(out_of_memory)
    predictor = CascadePredictor(model, model_batch_size=BATCH)
    with pytest.raises(MemoryError):
        predictor({"image": pixels[:40]})
    hook.remove()
    assert_are(predictor({"image": pixels[40:80]}), expected, slice(40, 80))


@pytest.mark.parametrize(
    ("batch", "problem"),
    [
        ({"picture": [b""]}, "image_column: .*'picture' .got 'image'."),
        ({}, "image_column: .*none at all .got 'image'."),
        ({"image": np.zeros((2, 32, 32, 3), np.uint8)}, r"image: .*48, 48, 3.*\[2, 32, 32, 3\]"),
        ({"image": np.zeros((2, 48, 48, 3), np.float32)}, r"image: .*uint8.*float32 \[2, 48, "),
        ({"image": np.array([b"a", b"bc"])}, r"image: .*bytes.*S2 \[2\]"),
        ({"image": ["a/path.png"]}, "image: .*got str in row 0"),
        ({"image": [b""], "label": ["cat"]}, "prefix: .*'label' already .got ''."),
        ({"image": [b""], "odd": np.array([object()])}, "odd: .*batch_format='pyarrow'"),
    ],
)
def test_a_wrong_batch_is_refused_in_one_line_with_field_and_value(
    predictor: CascadePredictor, batch: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem) as raised:
        predictor(batch)
    assert "\n" not in str(raised.value)


def test_a_prefix_keeps_the_added_columns_apart_from_the_truth(pixels: NDArray[np.uint8]) -> None:
    predictor = CascadePredictor("shapes", image_column="label", prefix="predicted_")
    predictions = predictor({"label": pixels[:2], "exit_stage": [9, 9]})
    assert predictions.column_names == [
        "exit_stage",
        *(f"predicted_{name}" for name in PREDICTION_SCHEMA.names),
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"model": "shopes"}, "model: 'shopes' not found; allowed are .*shapes"),
        ({"model": "shapes", "thresholds": (0.5,)}, "thresholds: .*takes 2 values.*got 1"),
        (
            {"model": "shapes", "model_batch_size": 0},
            "model_batch_size: must be at least 1 .got 0.",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as raised:
        CascadePredictor(**arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("ray_session")
def test_ray_data_runs_it_as_an_actor(
    pixels: NDArray[np.uint8], expected: dvt.Prediction, tmp_path: Path
) -> None:
    """Files with damage in Ray Data's default format, then pixels in tables, as Parquet."""
    contents = [encoded(picture) for picture in pixels[:100]]
    contents[11] = b""
    inputs: dict[str, tuple[str, list[Any]]] = {
        "files": ("default", contents),
        "pixels": ("pyarrow", list(pixels[:100])),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray Data, and of what it imports
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        for name, (batch_format, images) in inputs.items():
            rows = [{"number": number, "image": image} for number, image in enumerate(images)]
            ray.data.from_items(rows, override_num_blocks=3).map_batches(
                CascadePredictor,
                fn_constructor_kwargs={"model": "shapes", "model_batch_size": BATCH},
                batch_size=64,
                batch_format=batch_format,
                compute=ray.data.ActorPoolStrategy(size=1),
                num_cpus=1,
            ).write_parquet(str(tmp_path / name))
    for name in inputs:
        predictions = pq.read_table(tmp_path / name).sort_by("number").to_pylist()
        assert [row["number"] for row in predictions] == list(range(100))
        for number, row in enumerate(predictions):
            if name == "files" and number == 11:
                assert (row["label"], row["reason"]) == (None, Reason.TRUNCATED)
            else:
                assert row["reason"] is None
                assert row["label_id"] == expected.labels[number]
                assert row["exit_stage"] == expected.exit_stages[number]
