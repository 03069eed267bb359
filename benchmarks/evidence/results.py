"""Results of the commands: one JSON file each, with where and with what they were computed."""

import json
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.evidence.records import ModelFacts, Record, file_of
from benchmarks.reporting import report
from pipeline.errors import UsageError

__all__ = ["Results", "publish", "read_record", "read_results", "result_file", "same_pictures"]

Results = dict[str, Any]
"""The content of a result file."""


def result_file(folder: Path, name: str) -> Path:
    """Where the results of a command are kept."""
    return folder / f"evidence-{name}.json"


def publish(
    name: str, figures: dict[str, Any], facts: Iterable[ModelFacts], given: Namespace
) -> None:
    """Keeps figures with the models and pictures they are of, and prints them as the last line.

    The command is told with the names of files and folders only: their places are this machine's.
    """
    models = {fact.name: fact for fact in facts}
    content = {
        "command": f"python -m benchmarks.evidence {name} {_shown(given)}",
        "models": {fact.name: fact.digest for fact in models.values()},
        "validation": _of_all(fact.validation.model_dump() for fact in models.values()),
        "test": _of_all(fact.test.model_dump() for fact in models.values()),
        **figures,
    }
    report(content, Namespace(out=result_file(given.results, name)))


def _of_all(sets: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sets of pictures, each once."""
    return list({content["digest"]: content for content in sets}.values())


def _shown(given: Namespace) -> str:
    options = {"--models": given.models, "--data": given.data}
    return " ".join(f"{option} {path.name}" for option, path in options.items() if path)


def read_results(folder: Path, name: str) -> Results | None:
    """What a command kept; None if it was not run."""
    try:
        content: Results = json.loads(result_file(folder, name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError(f"results: {result_file(folder, name)} is no JSON: {error}") from error
    return content


def read_record(given: Namespace, model: str) -> Record | None:
    """The record of a model; None, and one line on standard error, where there is none."""
    path = file_of(given.records, model)
    if not path.is_file():
        print(f"left out: {model} has no record ({path})", file=given.messages)
        return None
    return Record.load(path)


def same_pictures(one: Record, other: Record) -> None:
    """Refuses to compare models that were judged on different pictures.

    Raises:
        UsageError: naming both.
    """
    for name in ("validation", "test"):
        if getattr(one.facts, name).digest != getattr(other.facts, name).digest:
            raise UsageError(
                f"records: {one.facts.name} and {other.facts.name} have other {name} pictures, so "
                "that they cannot be compared"
            )
