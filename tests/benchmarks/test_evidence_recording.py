"""From checkpoint folders to records and to the clock, with the shipped model of drawn shapes."""

import io
import json
import sys
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
from benchmarks.evidence.recording import record
from benchmarks.evidence.records import Record
from benchmarks.evidence.throughput import throughput
from dvt.cascade import Cascade
from dvt.inference import exit_scores, make_executor
from dvt.loading.checkpoint import save_model, shipped_models
from dvt.presets import static_relative


def write_pictures(path: Path, pixels: NDArray[np.uint8], names: list[str]) -> None:
    rows = []
    for number, (picture, name) in enumerate(zip(pixels, names, strict=True)):
        content = io.BytesIO()
        Image.fromarray(picture).save(content, format="PNG")
        rows.append({"key": str(number), "image": content.getvalue(), "label_name": name})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_models_that_are_there_are_recorded_once_and_timed_and_others_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Noise, labelled by what the cascade's last exit says: so it is always right at full depth."""
    model = dvt.load_model("shapes")
    assert model.labels is not None
    size = model.config.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (24, size, size, 3), dtype=np.uint8)
    answers = exit_scores(make_executor(model), pixels)[-1].argmax(axis=-1)
    names = [model.labels[answer] for answer in answers]
    models = tmp_path / "models"
    copytree(shipped_models()["shapes"], models / "cifar10")
    static = Cascade(static_relative(model.config, 3), labels=model.labels)
    save_model(static, models / "long" / "static_3")
    for name in ("cifar10", "long/static_3"):
        write_pictures(models / name / "training" / "validation.parquet", pixels, names)
    write_pictures(tmp_path / "test.parquet", pixels[:16], names[:16])
    given = Namespace(
        models=models,
        data=tmp_path / "test.parquet",
        records=tmp_path / "records",
        results=tmp_path / "results",
        messages=sys.stderr,
        static=[3],
        pictures=16,
        rounds=1,
        batch_sizes=[8],
    )
    record(given)
    told = capsys.readouterr()
    assert "recording cifar10\n" in told.err
    assert f"left out: {models / 'short/cascade'} holds no finished training" in told.err
    figures = json.loads(told.out.splitlines()[-1])["recorded"]
    assert figures["cifar10"]["accuracy_test"][-1] == 1
    assert figures["long/static_3"]["num_epochs"] is None
    kept = Record.load(given.records / "cifar10.npz")
    assert kept.facts.thresholds == model.calibration.thresholds
    assert kept.test.correct.shape == (3, 16)
    assert len(kept.validation.labels) == 24
    record(given)
    assert "recording" not in capsys.readouterr().err
    throughput(given)
    (pair,) = json.loads(capsys.readouterr().out.splitlines()[-1])["pairs"]
    assert (pair["schedule"], pair["stage"], pair["num_images"]) == ("long", 3, 16)
    assert pair["static_gmacs"] == figures["long/static_3"]["gmacs_per_exit"][0]
    assert all(run["ratio"] > 0 for run in pair["runs"])
