"""The summary of a run as text."""

import logging

from pipeline.audit.summary import AuditSummary
from pipeline.output.metadata import Summary, thresholds_text
from pipeline.units import cost_text, counted, duration_text

__all__ = ["budget_lines", "deadline_lines", "summary_lines"]

logger = logging.getLogger(__name__)

_BUDGET_TOLERANCE = 1.1
_DEADLINE_TOLERANCE = 1.05


def summary_lines(summary: Summary) -> tuple[str, ...]:
    """Counts, exits, cost, time, audit, and where the results are."""
    what, others = "image", ""
    if summary.other_files:
        what, others = "file", f"{counted(summary.other_files, 'other file')} (no pictures), "
    lines = [
        f"{counted(summary.images, what)}: {summary.tagged:,} tagged, "
        f"{counted(summary.dead_letters, 'dead letter')}, {others}{summary.skipped:,} done before"
    ]
    if summary.retagged:
        lines.append(
            f"{summary.retagged:,} of {summary.tagged_before:,} earlier tags exited below the new "
            "thresholds and were replaced"
        )
    if summary.gmacs_per_image is not None:
        saved = 1 - summary.gmacs_per_image / summary.gmacs_full_depth
        if len(summary.exits) > 1:  # a static model has one
            exits = " / ".join(f"{count:,}" for count in summary.exits)
            lines.append(f"images at exits 1 to {len(summary.exits)}: {exits}")
        lines += [
            f"{summary.gmacs_per_image:.4g} GMACs per image of {summary.gmacs_full_depth:.4g} at "
            f"full depth: {100 * saved:z.0f} % of the MACs saved",
            f"{summary.seconds:.1f} s, {summary.images_per_second or 0:,.0f} images/s",
        ]
    if summary.audit is not None:
        lines.append(_audit_line(summary.audit))
    lines.append(f"results in {summary.out} (dvt report {summary.out} makes a page of them)")
    return tuple(lines)


def _audit_line(audit: AuditSummary) -> str:
    """Agreement and compute saved with their intervals, and the cost of the audit."""
    if audit.agreement is None or audit.compute_saved is None:
        return "audit: no image was sampled; use a larger share"
    low, high = 100 * audit.compute_saved_low, 100 * audit.compute_saved_high
    interval = f"{_percent(audit.agreement_low)} to {_percent(audit.agreement_high)}"
    return (
        f"audit of {counted(audit.images, 'image')}: {_percent(audit.agreement)} answered as at "
        f"full depth (95 % confidence: {interval}); "
        f"{100 * audit.compute_saved:.1f} % of the MACs saved ({low:.1f} to {high:.1f} % for "
        "images like these); the audit cost "
        f"{cost_text(audit.extra_gmacs / audit.images)} more per audited image"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def deadline_lines(summary: Summary) -> tuple[str, ...]:
    """When the run ended and how its thresholds changed; empty without a deadline."""
    outcome = summary.deadline
    if outcome is None:
        return ()
    deadline, ended = duration_text(outcome.deadline_s), duration_text(outcome.ended_s)
    line = f"deadline {deadline}: ended after {ended}"
    if outcome.safest is not None and outcome.loosest is not None:
        safest, loosest = thresholds_text(outcome.safest), thresholds_text(outcome.loosest)
        if outcome.moves:
            times = "once" if outcome.moves == 1 else f"{outcome.moves:,} times"
            line += f"; thresholds changed {times} between {safest} and {loosest}"
        else:
            line += f"; thresholds stayed at {safest}"
    if outcome.ended_s <= _DEADLINE_TOLERANCE * outcome.deadline_s:
        return (line,)
    missed = "the deadline was missed"
    if outcome.loosest == outcome.loosest_allowed:
        allowed = thresholds_text(outcome.loosest_allowed)
        missed += f" even with the loosest thresholds allowed, {allowed}"
    logger.warning("%s", missed)
    return (line, missed)


def budget_lines(summary: Summary, budget_gmacs: float | None) -> tuple[str, ...]:
    """A hint if images cost clearly more than `--budget`; empty otherwise."""
    spent = summary.gmacs_per_image
    if budget_gmacs is None or spent is None or spent <= _BUDGET_TOLERANCE * budget_gmacs:
        return ()
    return (
        f"the budget was {cost_text(budget_gmacs)} per image, the cost {cost_text(spent)}: these "
        "images are harder than those the thresholds were calibrated on; to meet the budget, run "
        "dvt calibrate --data on a sample of these",
    )
