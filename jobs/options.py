"""Commands made from the fields of a job: one list of names for flags, YAML and validation.

A job is a frozen pydantic model. Every field is a flag (`top_k`: `--top-k`, `from_`: `--from`) and
a key of the file that `--config` names; flags win. A wrong value is reported in one line.
"""

import inspect
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from dvt.validation import first_problem
from pipeline.errors import PipelineError
from pipeline.logs import configure_logging
from pipeline.options import Options

__all__ = ["Job", "JobResult", "job_command"]


class Job(Options):
    """Base of the jobs that declare all of their options themselves."""


class JobResult(BaseModel):
    """Result of a job: lines of text, one JSON object, and the exit code."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lines: tuple[str, ...]
    data: dict[str, Any]
    exit_code: int = 0


J = TypeVar("J", bound=Options)


class _JobCommand(click.Command):
    """Lists the options by the class that declares them, under the first line of its docstring."""

    def __init__(self, job: type[Options], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._job = job

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {
            param.name: param.get_help_record(ctx)
            for param in self.get_params(ctx)
            if isinstance(param, click.Option)
        }
        for declaring in self._job.__mro__:
            names = [name for name in inspect.get_annotations(declaring) if name in records]
            rows = [row for name in names if (row := records.pop(name)) is not None]
            if rows:
                doc = (declaring.__doc__ or "").strip().splitlines()[0].rstrip(".")
                with formatter.section("Options" if declaring is self._job else doc):
                    formatter.write_dl(rows)
        with formatter.section("General options"):
            formatter.write_dl([row for row in records.values() if row is not None])


def job_command(
    name: str, job: type[J], run: Callable[[J], JobResult], arguments: tuple[str, ...] = ()
) -> click.Command:
    """A command that fills a job from flags and YAML, runs it, and prints its result.

    Args:
        name: of the command.
        job: its fields become options.
        run: does the work.
        arguments: fields that are positional.
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
            help="YAML file with any of these options; flags win",
        ),
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            help="print the result as one JSON object on the last line of standard output",
        ),
        click.Option(["--verbose"], is_flag=True, help="log debug messages and stack traces"),
    ]

    def call(config: Path | None, as_json: bool, verbose: bool, **given: Any) -> int:
        fields = {} if config is None else _from_yaml(config)
        as_json, verbose = _switch(fields, "json") or as_json, _switch(fields, "verbose") or verbose
        configure_logging(logging.DEBUG if verbose else logging.INFO)
        result = run(_filled(job, fields, given))
        _print(result, as_json)
        return result.exit_code

    doc = (job.__doc__ or "").strip()
    return _JobCommand(job, name, params=params, callback=call, help=doc, no_args_is_help=False)


def _print(result: JobResult, as_json: bool) -> None:
    try:
        print("\n".join(result.lines), file=sys.stderr if as_json else sys.stdout, flush=True)
        if as_json:
            print(json.dumps(result.data), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        text = f"standard output: {error.strerror}; the job itself is finished"
        raise PipelineError(text) from error


def _default_text(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default_text" in extra:
        return str(extra["default_text"])
    return ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default


def _option(name: str, field: FieldInfo) -> click.Option:
    flag = f"--{_flag(name)}"
    text = field.description or ""
    if field.is_required():
        text += " [required]"
    elif field.default not in (None, False, ()):
        text += f" [default: {_default_text(field)}]"
    if field.annotation is bool:
        return click.Option([flag, name], is_flag=True, default=None, help=text)
    metavar = name.rstrip("_").upper()
    if get_origin(field.annotation) is Literal:
        metavar = "|".join(get_args(field.annotation))
    return click.Option(
        [flag, name], default=None, help=text, metavar=metavar, multiple=_is_list(field)
    )


def _is_list(field: FieldInfo) -> bool:
    """Whether the field takes several texts: a repeatable flag, a list in YAML."""
    return field.annotation == tuple[str, ...]


def _filled(job: type[J], fields: dict[str, Any], given: dict[str, Any]) -> J:
    for name in job.model_fields:
        if name.endswith("_") and name.rstrip("_") in fields:  # `from` is a keyword of Python
            fields[name] = fields.pop(name.rstrip("_"))
    fields |= {key: value for key, value in given.items() if value not in (None, ())}
    try:
        return job.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["type"] == "missing":
            name = str(problem["loc"][0])
            raise click.UsageError(f"{_flag(name)}: must be given") from error
        raise click.UsageError(_with_flags(first_problem(error), job)) from error


def _with_flags(message: str, job: type[Options]) -> str:
    """The message with the names of options spelled as in their flags."""
    text, got, value = message.partition(" (got ")
    names = "|".join(name for name in job.model_fields if "_" in name)
    text = re.sub(rf"\b({names})\b", lambda found: _flag(found[0]), text)
    return text + got + value


def _flag(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


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
    """Takes a switch that is no field of the job out of the options of a YAML file."""
    value = content.pop(name, False)
    if not isinstance(value, bool):
        raise click.UsageError(f"{name}: must be true or false (got {value!r})")
    return value
