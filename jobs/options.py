"""Command-line options made from a job's own fields, so that flags, YAML and checks are one list.

A job is a frozen pydantic model. Every field becomes a flag of the same name (`top_k`: `--top-k`,
`from_`: `--from`) and a key of the file that `--config` names; flags win. What is wrong is told in
one line.
"""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from dvt.validation import first_problem

__all__ = ["Job", "JobResult", "job_command"]


class Job(BaseModel):
    """Base of all jobs: settings that a person gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobResult(BaseModel):
    """What a job has to say: lines for a person, and one JSON object for a program."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lines: tuple[str, ...]
    data: dict[str, Any]


J = TypeVar("J", bound=Job)


def job_command(
    name: str, job: type[J], run: Callable[[J], JobResult], arguments: tuple[str, ...] = ()
) -> click.Command:
    """A command that fills a job from flags and YAML, runs it, and prints its result.

    Args:
        name: of the command.
        job: its fields become options.
        run: does the work.
        arguments: fields that are given by position.
    """
    params: list[click.Parameter] = []
    for field_name, field in job.model_fields.items():
        if field_name in arguments:
            nargs = -1 if _is_list(field) else 1
            params.append(click.Argument([field_name], required=False, nargs=nargs))
        else:
            params.append(_option(field_name, field))
    params += [
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="YAML file with any of these options; flags win.",
        ),
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            help="Last line of standard output is one JSON object.",
        ),
        click.Option(["--verbose"], is_flag=True, help="Log more, and traces of internal errors."),
    ]

    def call(config: Path | None, as_json: bool, verbose: bool, **given: Any) -> None:
        fields = {} if config is None else _from_yaml(config)
        as_json, verbose = _switch(fields, "json") or as_json, _switch(fields, "verbose") or verbose
        logging.basicConfig(
            stream=sys.stderr,
            level=logging.DEBUG if verbose else logging.INFO,
            format="%(asctime)s %(levelname)s %(message)s",
            datefmt="%H:%M:%S",
            force=True,
        )
        # Which credentials were found, and where, is of no interest to who gave them.
        logging.getLogger("botocore").setLevel(logging.WARNING)
        result = run(_filled(job, fields, given))
        print("\n".join(result.lines), file=sys.stderr if as_json else sys.stdout)
        if as_json:
            print(json.dumps(result.data))

    doc = (job.__doc__ or "").strip()
    return click.Command(name, params=params, callback=call, help=doc, no_args_is_help=False)


def _option(name: str, field: FieldInfo) -> click.Option:
    flag = "--" + name.rstrip("_").replace("_", "-")
    default = (
        ""
        if field.is_required() or field.default in (None, False, ())
        else (f" [default: {field.default}]")
    )
    text = (field.description or "") + default
    if field.annotation is bool:
        return click.Option([flag, name], is_flag=True, default=None, help=text)
    return click.Option(
        [flag, name],
        default=None,
        help=text,
        metavar=name.rstrip("_").upper(),
        multiple=_is_list(field),
    )


def _is_list(field: FieldInfo) -> bool:
    """Whether it takes several texts: flags that may be repeated, a list in YAML."""
    return field.annotation == tuple[str, ...]


def _filled(job: type[J], fields: dict[str, Any], given: dict[str, Any]) -> J:
    for name in job.model_fields:
        if name.endswith("_") and name.rstrip("_") in fields:  # Python has words of its own
            fields[name] = fields.pop(name.rstrip("_"))
    fields |= {key: value for key, value in given.items() if value not in (None, ())}
    try:
        return job.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["type"] == "missing":
            name = str(problem["loc"][0])
            raise click.UsageError(f"{name.replace('_', '-')}: must be given") from error
        raise click.UsageError(first_problem(error)) from error


def _from_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.UsageError(f"config: cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        line = str(error).splitlines()[0]
        raise click.UsageError(f"config: {path} is not valid YAML: {line}") from error
    if not isinstance(content, dict):
        raise click.UsageError(f"config: {path} must hold a mapping of options")
    return {str(key).replace("-", "_"): value for key, value in content.items()}


def _switch(content: dict[str, Any], name: str) -> bool:
    """Takes a switch that is no field of the job out of a YAML file's options."""
    value = content.pop(name, False)
    if not isinstance(value, bool):
        raise click.UsageError(f"{name}: must be true or false (got {value!r})")
    return value
