"""A recipe that trains a tiny cascade in seconds, and its images."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from dvt.cascade import cascade_spec
from dvt.config import CascadeConfig
from jobs.commands.train import TrainJob, run_train
from pipeline.decoding import DecodeSettings
from pipeline.runtime.resource_plan import decode_settings

NAMES = ("dark", "light")


@dataclass(frozen=True)
class Setting:
    """A recipe for a tiny model, and a Parquet file of 60 dark and light images."""

    folder: Path
    config: CascadeConfig

    @property
    def decoding(self) -> DecodeSettings:
        return decode_settings(cascade_spec(self.config))

    @property
    def data(self) -> Path:
        return self.folder / "images.parquet"

    def recipe(self, **changes: Any) -> Path:
        training = {"epochs": 5, "batch_size": 8, "optimizer": "muon", "ema_decay": 0.9}
        fields: dict[str, Any] = {
            "model": self.config.model_dump(mode="json"),
            "data": str(self.data),
            "validation_images": 12,
            "training": training | {"learning_rate": 0.01, "shift": 1, "drop_path": 0.1},
        }
        path = self.folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(fields | changes), encoding="utf-8")
        return path

    def train(self, out: str, recipe: dict[str, Any] | None = None, **fields: Any) -> Path:
        job: dict[str, Any] = {"recipe": str(self.recipe(**recipe or {})), "out": self.folder / out}
        run_train(TrainJob(**(job | fields)))
        return self.folder / out


@pytest.fixture
def setting(tmp_path: Path, tiny_config: Callable[..., CascadeConfig]) -> Setting:
    made = Setting(tmp_path, tiny_config("conv", num_classes=2))
    random = np.random.default_rng(0)
    rows = []
    for number in range(60):
        noise = random.integers(0, 156, (24, 24, 3), dtype=np.uint8) + 100 * (number % 2)
        content = io.BytesIO()
        Image.fromarray(noise.astype(np.uint8)).save(content, format="PNG")
        rows.append(
            {"key": f"k{number}", "image": content.getvalue(), "label_name": NAMES[number % 2]}
        )
    pq.write_table(pa.Table.from_pylist(rows), made.data)
    return made


def curve(out: Path) -> list[dict[str, Any]]:
    """The learning curve without durations."""
    path = out / "training" / "curve.jsonl"
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
