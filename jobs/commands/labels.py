"""`dvt labels`: the classes and groups of a model."""

import io
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field
from rich import box
from rich.console import Console
from rich.table import Table

import dvt
from dvt.labels import imagenet
from dvt.loading import DEFAULT_MODEL
from jobs.options import Job, JobResult, job_command

__all__ = ["LabelsJob", "command", "run_labels"]

_MANY = 10_000  # columns: no line is wrapped


class LabelsJob(Job):
    """Prints the classes of a model, and its groups of classes.

    MODEL is a shipped name, a checkpoint folder or a published file. Of each class: id, name,
    synonyms and groups, the smallest group first. --sure-of group exits on that first group.
    """

    model: Annotated[
        str, Field(description="shipped name, checkpoint folder or published file")
    ] = DEFAULT_MODEL


def run_labels(job: LabelsJob) -> JobResult:
    """Lists the classes.

    Raises:
        ModelError: the model cannot be used.
    """
    model = dvt.load_model(job.model)
    classes, groups = _classes(model), model.groups.groups
    rows = [
        (str(each["id"]), each["name"], ", ".join(each["synonyms"]), ", ".join(each["groups"]))
        for each in classes
    ]
    lines = _table(("id", "name", "synonyms", "groups"), rows)
    if groups:
        sizes = [(group.name, str(len(group.class_ids))) for group in groups]
        lines += ["", *_table(("group", "classes"), sizes)]
    listed = [{"name": group.name, "class_ids": group.class_ids} for group in groups]
    return JobResult(
        lines=tuple(lines), data={"model": job.model, "classes": classes, "groups": listed}
    )


def _classes(model: dvt.Model) -> list[dict[str, Any]]:
    aligned = imagenet.align(model.labels or ())
    classes = []
    for class_id, name in enumerate(model.label_names):
        synset = None if aligned is None else imagenet.classes()[aligned[class_id]]
        classes.append(
            {
                "id": class_id,
                "name": name,
                "synonyms": [] if synset is None else list(synset.synonyms),
                "wordnet_id": None if synset is None else synset.wordnet_id,
                "groups": list(model.groups.names_of(class_id)),
            }
        )
    return classes


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=_MANY, color_system=None, markup=False).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]


command = job_command("labels", LabelsJob, run_labels, arguments=("model",))
