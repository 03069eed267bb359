"""Which run may continue an output: the same archive, model and options, no looser thresholds."""

from pipeline.errors import UsageError
from pipeline.output.metadata import RunFile, thresholds_text
from pipeline.output.retag import looser_exit
from pipeline.settings import BINDING_OPTIONS

__all__ = ["continued_run"]

_WAY_OUT = "choose another --out, or --overwrite to start over"


def continued_run(earlier: RunFile, run: RunFile, uri: str) -> RunFile:
    """Checks that a run may continue an earlier one, and adds what it takes over.

    Args:
        earlier: the last run of the output.
        run: the run that is to continue it.
        uri: of the output.

    Returns:
        The run with the binding options that it leaves to the earlier one, and with
        `satisfied_thresholds` if some tags may be below its own.

    Raises:
        UsageError: the results of both must not be mixed.
    """
    inherited = {
        name: getattr(earlier.settings, name)
        for name in BINDING_OPTIONS
        if getattr(run.settings, name) is None
    }
    settings = run.settings.model_copy(update=inherited)
    bindings = {
        "archive": (earlier.inputs, run.inputs),
        "model": (str(earlier.model), str(run.model)),
        **{
            name.replace("_", "-"): (getattr(earlier.settings, name), getattr(settings, name))
            for name in BINDING_OPTIONS
        },
    }
    for what, (before, now) in bindings.items():
        if before != now:
            raise UsageError(
                f"out: {uri} holds results of another {what}: {_text(before)}, not {_text(now)}; "
                f"{_WAY_OUT}"
            )
    exit_stage = looser_exit(earlier.thresholds, run.thresholds)
    if exit_stage is not None:
        raise UsageError(
            f"out: {uri} holds results of stricter thresholds: "
            f"{thresholds_text(earlier.thresholds)}, not {thresholds_text(run.thresholds)}, looser "
            f"at exit {exit_stage}; pass the same or stricter ones (as --thresholds those of its "
            f"run.json, or --deadline if it had one), {_WAY_OUT}"
        )
    satisfied = earlier.satisfied_thresholds or earlier.thresholds
    is_satisfied = satisfied == run.thresholds
    changes = {"settings": settings, "satisfied_thresholds": None if is_satisfied else satisfied}
    return run.model_copy(update=changes)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)
