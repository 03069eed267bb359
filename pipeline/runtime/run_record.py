"""What a run records of itself: which archive and model, under which circumstances, asked how.

`output_files.RunFile` is what is written; here it is filled in.
"""

import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import dvt
from dvt.device import best_device, inference_dtype
from dvt.loading.checkpoint import model_digest
from pipeline.output.metadata import ModelIdentity, RunFile
from pipeline.runtime.resource_plan import hardware
from pipeline.settings import TagSettings

__all__ = ["new_run_file"]


def new_run_file(
    settings: TagSettings,
    inputs: tuple[str, ...],
    model: dvt.Cascade,
    thresholds: tuple[float, ...],
) -> RunFile:
    """The record of a run that starts now.

    Args:
        settings: of the job.
        inputs: names of the archive's parts, the same on every run.
        model: loaded.
        thresholds: one for each exit, the last taking everything.
    """
    config = model.config
    device = best_device()
    names = {"dvt": "dvt-pipeline", "torch": "torch", "ray": "ray", "deltalake": "deltalake"}
    return RunFile(
        run=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
        inputs=inputs,
        model=ModelIdentity(
            name=config.name,
            digest=model_digest(model),
            num_classes=config.num_classes,
            grids=tuple(grid.size for grid in config.grids),
            gmacs_per_exit=dvt.gmacs_per_exit(config),
        ),
        thresholds=thresholds[:-1],
        top_k=settings.top_k,
        keep_columns=settings.reading.keep_columns,
        audit=settings.audit,
        dtype=str(inference_dtype(device)).removeprefix("torch."),
        batch_size=settings.batch_size,
        versions={key: version(name) for key, name in names.items()},
        hardware=hardware(),
        started_at=datetime.now(UTC).replace(microsecond=0),
        settings=_for_a_retry(settings),
    )


def _for_a_retry(settings: TagSettings) -> dict[str, Any]:
    """What was asked for, with paths that mean the same from another folder."""
    asked: dict[str, Any] = TypeAdapter(TagSettings).dump_python(settings, mode="json")
    for name in ("out", "overwrite", "max_dead_letters", "thresholds", "deadline"):
        del asked[name]
    asked["inputs"] = [_absolute(name) for name in asked["inputs"]]
    asked["model"] = _absolute(asked["model"])
    return asked


def _absolute(name: str) -> str:
    """A path from the root on; names of other things stay as they are."""
    if "://" in name:
        return name
    path = Path(name).expanduser()
    # A glob or a range names no file itself, but begins with a folder all the same.
    is_path = path.exists() or any(mark in name for mark in "*?[{")
    return str(path.absolute()) if is_path else name
