"""From checkpoint folders to results and throughput, with the shipped model of drawn shapes."""

import io
import json
from argparse import Namespace
from pathlib import Path
from shutil import copytree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

import dvt
from benchmarks.evidence.measure import measure
from benchmarks.evidence.results import read_results
from benchmarks.evidence.throughput import throughput
from dvt.cascade import Cascade
from dvt.inference import exit_scores
from dvt.loading import save_model, shipped_models
from dvt.presets import static_relative
from pipeline.errors import UsageError


def write_images(path: Path, pixels: NDArray[np.uint8], names: list[str]) -> None:
    rows = []
    for number, (image, name) in enumerate(zip(pixels, names, strict=True)):
        content = io.BytesIO()
        Image.fromarray(image).save(content, format="PNG")
        rows.append({"key": str(number), "image": content.getvalue(), "label_name": name})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_models_that_are_there_are_measured_and_timed_and_others_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Noise, labelled with the answers of the cascade, which is always right at full depth."""
    model = dvt.load_cascade("shapes")
    assert model.labels is not None
    size = model.config.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (24, size, size, 3), dtype=np.uint8)
    answers = exit_scores(model.make_executor(), pixels)[-1].argmax(axis=-1)
    names = [model.labels[answer] for answer in answers]
    models = tmp_path / "models"
    copytree(shipped_models()["shapes"], models / "short" / "cascade")
    static = Cascade(static_relative(model.config, 3), labels=model.labels)
    save_model(static, models / "short" / "static_3")
    for name in ("short/cascade", "short/static_3"):
        write_images(models / name / "training" / "validation.parquet", pixels, names)
    write_images(tmp_path / "test.parquet", pixels[:16], names[:16])
    given = Namespace(
        command="measure",
        models=models,
        data=tmp_path / "test.parquet",
        results=tmp_path / "results",
        num_images=16,
        rounds=1,
        batch_sizes=[8],
    )
    measure(given)
    err = capsys.readouterr().err
    assert "recording short/cascade\n" in err
    assert f"left out: {models / 'cifar10'} holds no trained model" in err
    recorded = read_results(given.results, "record")["recorded"]
    assert recorded["short/cascade"]["accuracy_test"][-1] == 1
    assert recorded["short/static_3"]["num_epochs"] is None
    default = read_results(given.results, "curves")["schedules"]["short"]["own_thresholds"]
    assert tuple(default["thresholds"]) == model.calibration.thresholds
    throughput(given)
    (pair,) = json.loads(capsys.readouterr().out.splitlines()[-1])["pairs"]
    assert (pair["stage"], pair["num_images"]) == (3, 16)
    assert pair["static_gmacs"] == recorded["short/static_3"]["gmacs_per_exit"][0]
    assert all(run["ratio"] > 0 for run in pair["runs"])
    save_model(
        Cascade(static_relative(model.config, 3), labels=model.labels),
        models / "short" / "static_3",
    )
    with pytest.raises(UsageError, match=r"short/static_3 has changed; run `measure` again"):
        throughput(given)
