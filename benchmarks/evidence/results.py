"""Results of the commands: one JSON file each, with models, images, machine and versions."""

import json
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.evidence.recording import RecordedModel, data_facts
from benchmarks.reporting import report
from pipeline.errors import UsageError

__all__ = ["Results", "publish", "read_results", "result_file"]

Results = dict[str, Any]
"""The content of a result file."""


def result_file(folder: Path, name: str) -> Path:
    """File of some results."""
    return folder / f"evidence-{name}.json"


def publish(
    name: str, figures: dict[str, Any], models: Iterable[RecordedModel], given: Namespace
) -> None:
    """Keeps figures with the models and images that they are of.

    Files and folders are named without their places, which are this machine's.
    """
    models = list(models)
    content = {
        "command": f"python -m benchmarks.evidence {given.command} "
        f"--models {given.models.name} --data {given.data.name}",
        "models": {one.name: one.test_exits.model_digest for one in models},
        "validation": [data_facts("validation.parquet", models[0].held_out)],
        "test": [data_facts(given.data.name, models[0].test)],
        **figures,
    }
    report(content, Namespace(out=result_file(given.results, name)))


def read_results(folder: Path, name: str) -> Results:
    """Reads a result file.

    Raises:
        UsageError: it is missing or damaged.
    """
    path = result_file(folder, name)
    try:
        content: Results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"results: cannot read {path}: {error}") from error
    return content
