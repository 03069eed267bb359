"""Which run may continue an output: the same archive and model, and no looser thresholds."""

from pipeline.errors import UsageError
from pipeline.output.metadata import RunFile, thresholds_text
from pipeline.output.retag import looser_exit

__all__ = ["continued_run"]

_WAY_OUT = "choose another --out, or --overwrite to start over"


def continued_run(earlier: RunFile, run: RunFile, uri: str) -> RunFile:
    """Checks that a run may continue an earlier one, and adds what it takes over.

    Args:
        earlier: the last run of the output.
        run: the run that is to continue it.
        uri: of the output.

    Returns:
        The run with the earlier audit, if it names none, and with `satisfied_thresholds` if some
        tags may be below its own.

    Raises:
        UsageError: the results of both must not be mixed.
    """
    audit = earlier.audit if run.audit is None else run.audit
    pairs = (
        ("archive", ", ".join(earlier.inputs), ", ".join(run.inputs)),
        ("model", _model(earlier), _model(run)),
        ("top-k", earlier.top_k, run.top_k),
        ("keep-columns", list(earlier.keep_columns), list(run.keep_columns)),
        ("audit", _share(earlier.audit), _share(audit)),
    )
    for field, before, now in pairs:
        if before != now:
            raise UsageError(
                f"out: {uri} holds results of another {field}: {before}, not {now}; {_WAY_OUT}"
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
    changes = {"audit": audit, "satisfied_thresholds": None if is_satisfied else satisfied}
    return run.model_copy(update=changes)


def _model(run: RunFile) -> str:
    return f"{run.model.name} ({run.model.digest})"


def _share(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:g} %"
