"""The console script `dvt`.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 stopped by `--max-errors`,
130 interrupted. Whatever is wrong is one line on standard error.
"""

import importlib
import os
import sys
import traceback
from importlib.metadata import version

import click

__all__ = ["main", "run"]

# Each module has a `command`; it is imported only when asked for, so that `dvt --help` is quick.
COMMANDS = {
    "demo": "jobs.demo",
    "tag": "jobs.tag",
    "report": "jobs.report_job",
    "train": "jobs.train",
    "eval": "jobs.evaluate",
    "shapes": "jobs.shapes_job",
}

EXIT_FAILED, EXIT_USAGE, EXIT_MAX_ERRORS, EXIT_INTERRUPTED = 1, 2, 3, 130


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name]).command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("dvt-pipeline"), prog_name="dvt")
def dvt() -> None:
    """Tags image archives with a cascade of Transformers that stops at the first sure answer."""


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code."""
    try:
        return int(dvt.main(arguments, prog_name="dvt", standalone_mode=False) or 0)
    except click.ClickException as error:
        return _say(error.format_message(), EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted; the same command continues where it stopped", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader went away; say nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the outermost place: one line, not a trace
        return _explain(error, "--verbose" in arguments)


def _explain(error: Exception, verbose: bool) -> int:
    from dvt.errors import ModelError
    from pipeline.errors import PipelineError, TooManyDeadLetters, UsageError

    if isinstance(error, TooManyDeadLetters):
        return _say(str(error), EXIT_MAX_ERRORS)
    if isinstance(error, UsageError | ModelError):
        return _say(str(error), EXIT_USAGE)
    if isinstance(error, PipelineError):
        return _say(str(error), EXIT_FAILED)
    if verbose:
        traceback.print_exception(error)
    text = " ".join(str(error).split())
    return _say(f"{type(error).__name__}: {text} (--verbose shows the trace)", EXIT_FAILED)


def _say(text: str, code: int) -> int:
    line = " ".join(text.split())
    print(f"dvt: {line}", file=sys.stderr)
    return code
