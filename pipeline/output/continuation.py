"""Which run may continue an output: the same archive, model and options, no looser thresholds.

It computes as the first run did, whatever this machine would choose.
"""

import logging

from pipeline.errors import UsageError
from pipeline.output.metadata import RunFile, thresholds_text
from pipeline.output.retag import looser_exit
from pipeline.settings import BINDING_OPTIONS

__all__ = ["continued_run"]

logger = logging.getLogger(__name__)

_WAY_OUT = "choose another --out, or --overwrite to start over"


def continued_run(earlier: RunFile, run: RunFile, uri: str) -> RunFile:
    """Checks that a run may continue an earlier one, and adds what it takes over.

    Args:
        earlier: the last run of the output.
        run: the run that is to continue it.
        uri: of the output.

    Returns:
        The run with the precision of the earlier one, with the binding options that it does not
        give itself, with `satisfied_thresholds` if some tags may be below its own, and with
        `lacks_embeddings` if some may have no embedding.

    Raises:
        UsageError: the results of both must not be mixed.
    """
    inherited = {
        name: getattr(earlier.settings, name)
        for name in (*BINDING_OPTIONS, "state")
        if not _is_given(run, name)
    }
    embeddings = run.settings.embeddings or earlier.settings.embeddings
    settings = run.settings.model_copy(
        update={**inherited, "embeddings": embeddings, "moved": False}
    )
    if earlier.dtype != run.dtype:
        logger.info(
            "computing in %s, as the earlier runs on %s did; this machine would use %s",
            earlier.dtype,
            uri,
            run.dtype,
        )
    is_moved = run.settings.moved
    run = run.model_copy(update={"settings": settings, "dtype": earlier.dtype})
    bindings = {
        "archive": (earlier.inputs, earlier.inputs if is_moved else run.inputs),
        "model": (str(earlier.model), str(run.model)),
        "set of groups": (earlier.model.groups or None, run.model.groups or None),
        **{
            name.replace("_", "-"): (getattr(earlier.settings, name), getattr(settings, name))
            for name in BINDING_OPTIONS
        },
        "state": (earlier.state_format, run.state_format),
    }
    for what, (before, now) in bindings.items():
        if before != now:
            raise UsageError(
                f"out: {uri} holds results of another {what}: {_text(before)}, not {_text(now)}; "
                f"{_way_out(what)}"
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
    return run.model_copy(
        update={
            "satisfied_thresholds": None if is_satisfied else satisfied,
            "lacks_embeddings": earlier.lacks_embeddings
            or (embeddings and not earlier.settings.embeddings),
        }
    )


def _is_given(run: RunFile, name: str) -> bool:
    return name in run.settings.model_fields_set and getattr(run.settings, name) is not None


def _way_out(what: str) -> str:
    moved = "pass --moved if these are the same images in another place, " * (what == "archive")
    return moved + _WAY_OUT


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)
