"""The console script `dvt`.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 stopped by `--max-errors`,
130 interrupted. Every error is one line on standard error.
"""

import contextlib
import importlib
import io
import logging
import os
import re
import sys
import traceback
from importlib.metadata import version

import click

from pipeline.logs import visible
from pipeline.runtime.signals import interrupt_on_term

__all__ = ["main", "run"]

# Name -> module and description. The module has a `command`; it is imported only when that runs,
# so that `dvt --help` does not wait for torch.
COMMANDS = {
    "demo": ("jobs.commands.demo", "Tag a small generated archive and report the result."),
    "tag": ("jobs.commands.tag", "Tag an archive, or continue an earlier run."),
    "retry": ("jobs.commands.retry", "Process the dead letters of an output again."),
    "status": ("jobs.commands.status", "Show the progress of a run."),
    "verify": ("jobs.commands.verify", "Check an output completely."),
    "index": ("jobs.commands.index", "Build a search index of an output, or update it."),
    "search": ("jobs.commands.search", "Find images in an index, by words or by example."),
    "duplicates": ("jobs.commands.duplicates", "List near-duplicates in an index."),
    "report": ("jobs.commands.report", "Write the HTML report of an output."),
    "train": ("jobs.commands.train", "Train a cascade on labelled images."),
    "eval": (
        "jobs.commands.eval",
        "Measure the accuracy of every exit and the accuracy/cost curve.",
    ),
    "calibrate": ("jobs.commands.calibrate", "Fit thresholds to a budget or a bounded loss."),
    "cascade": ("jobs.commands.cascade", "Make a cascade of any models."),
    "labels": ("jobs.commands.labels", "List the classes and groups of a model."),
    "profile": ("jobs.commands.profile", "Time the stages of a cascade on this machine."),
    "shapes": ("jobs.commands.shapes", "Generate an archive of labelled images of shapes."),
}

EXIT_FAILED, EXIT_USAGE, EXIT_MAX_ERRORS, EXIT_INTERRUPTED = 1, 2, 3, 130


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("dvt-pipeline"), prog_name="dvt")
def dvt() -> None:
    """Tags image archives with a cascade of Transformers; easy images exit early."""


def main() -> None:
    """Entry point of the console script."""
    _open_missing_streams()
    interrupt_on_term()
    code = run(sys.argv[1:])
    logging.shutdown()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Everything is committed and closed. Interpreter shutdown under the native threads of Ray and
    # Arrow can abort a finished job (SIGABRT), so it is skipped.
    os._exit(code)


def _open_missing_streams() -> None:
    """Opens closed standard streams on /dev/null.

    Otherwise the next files to be opened would get their numbers, and whatever a library prints.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), "utf-8")
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), "utf-8")


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code."""
    try:
        return int(dvt.main(arguments, prog_name="dvt", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return EXIT_USAGE
    except click.ClickException as error:
        return _print(error.format_message(), EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        return _print("interrupted; the same command continues the run", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of standard output is gone; avoid a second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - outermost handler: one line, no trace
        return _report(error, "--verbose" in arguments)


def _report(error: Exception, verbose: bool) -> int:
    from dvt.errors import ModelError
    from pipeline.errors import PipelineError, TooManyDeadLettersError, UsageError

    if isinstance(error, TooManyDeadLettersError):
        return _print(str(error), EXIT_MAX_ERRORS)
    if isinstance(error, UsageError | ModelError):
        return _print(_with_flags(str(error)), EXIT_USAGE)
    if isinstance(error, PipelineError):
        return _print(str(error), EXIT_FAILED)
    if verbose:
        traceback.print_exception(error)
    text = " ".join(str(error).split())
    return _print(f"{type(error).__name__}: {text} (--verbose shows the stack trace)", EXIT_FAILED)


def _with_flags(message: str) -> str:
    """The message with the names of fields before its colon spelled as flags."""
    return re.sub(r"^[a-z_, ]+:", lambda names: names[0].replace("_", "-"), message)


def _print(text: str, code: int) -> int:
    line = visible(" ".join(text.split()))
    with contextlib.suppress(OSError):
        print(f"dvt: {line}", file=sys.stderr, flush=True)
    return code
