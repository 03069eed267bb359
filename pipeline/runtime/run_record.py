"""Fills in `run.json`: archive, model, settings and circumstances of a run."""

import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import dvt
from pipeline.output.metadata import ModelIdentity, RunFile
from pipeline.runtime.hardware import hardware
from pipeline.runtime.resource_plan import job_dtype
from pipeline.settings import TagSettings

__all__ = ["new_run_file"]

_VERSIONS = {"dvt": "dvt-pipeline", "torch": "torch", "ray": "ray", "deltalake": "deltalake"}


def new_run_file(
    settings: TagSettings,
    inputs: tuple[str, ...],
    model: dvt.Model,
    thresholds: tuple[float, ...],
) -> RunFile:
    """The record of a run that starts now.

    Args:
        settings: of the job.
        inputs: names of the archive's parts.
        model: loaded.
        thresholds: one for each exit, the last taking everything.
    """
    spec = model.spec
    absolute = {
        "input": tuple(_absolute(name) for name in settings.input),
        "model": _absolute(settings.model),
    }
    return RunFile(
        run=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
        inputs=inputs,
        model=ModelIdentity(
            name=spec.name,
            digest=model.digest(),
            num_classes=spec.num_classes,
            stages=tuple(stage.name for stage in spec.stages),
            gmacs_per_exit=spec.gmacs_per_exit,
            last_member=spec.last_member,
            groups=model.groups.digest,
        ),
        thresholds=thresholds[:-1],
        dtype=job_dtype(settings, model),
        versions={key: version(name) for key, name in _VERSIONS.items()},
        hardware=hardware(),
        started_at=datetime.now(UTC).replace(microsecond=0),
        settings=settings.model_copy(update=absolute),
    )


def _absolute(name: str) -> str:
    """A path as an absolute one, so that `dvt retry` works from any folder; other names as is."""
    if "://" in name:
        return name
    path = Path(name).expanduser()
    # A glob or a range is no file, but starts with a folder.
    is_path = path.exists() or any(mark in name for mark in "*?[{")
    return str(path.absolute()) if is_path else name
