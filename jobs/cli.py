"""The console script `dvt`.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 stopped by `--max-errors`,
130 interrupted. Whatever is wrong is one line on standard error.
"""

import contextlib
import importlib
import logging
import os
import sys
import traceback
from importlib.metadata import version

import click

from pipeline.runtime.signals import interrupt_on_term

__all__ = ["main", "run"]

# Name -> its module and what it does. A module has a `command`; it is imported only when that is
# run, so that `dvt --help` need not wait for torch.
COMMANDS = {
    "demo": ("jobs.commands.demo", "Make a small archive, tag it, report: a first look."),
    "tag": ("jobs.commands.tag", "Tag an archive, or go on where an earlier run stopped."),
    "retry": ("jobs.commands.retry", "Do the dead letters of an output again."),
    "status": ("jobs.commands.status", "Tell how far a run is."),
    "report": ("jobs.commands.report", "Write the cost report of an output as an HTML page."),
    "train": ("jobs.commands.train", "Train a cascade on labelled pictures."),
    "eval": ("jobs.commands.eval", "Accuracy of every exit and the accuracy/cost curve."),
    "calibrate": (
        "jobs.commands.calibrate",
        "Thresholds for a budget or a bounded loss, with a proof.",
    ),
    "profile": ("jobs.commands.profile", "Time the stages of a cascade on this machine."),
    "shapes": ("jobs.commands.shapes", "Write an archive of drawn, labelled pictures."),
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
    """Tags image archives with a cascade of Transformers that stops at the first sure answer."""


def main() -> None:
    """Entry point of the console script."""
    interrupt_on_term()
    code = run(sys.argv[1:])
    logging.shutdown()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    # All work is closed and committed. Taking the interpreter down under the native threads of Ray
    # and Arrow has been seen to abort a finished job (SIGABRT), so it is left out.
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code."""
    try:
        return int(dvt.main(arguments, prog_name="dvt", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return EXIT_USAGE
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
    from pipeline.errors import PipelineError, TooManyDeadLettersError, UsageError

    if isinstance(error, TooManyDeadLettersError):
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
