"""What an audit found, in one line for a person."""

from pipeline.audit.summary import AuditSummary
from pipeline.units import cost_text

__all__ = ["audit_line"]


def audit_line(audit: AuditSummary) -> str:
    """Agreement and compute saved with their intervals, and what the audit cost."""
    if audit.agreement is None or audit.compute_saved is None:
        return "audit: none of the images was drawn; a larger share would say something"
    low, high = 100 * audit.compute_saved_low, 100 * audit.compute_saved_high
    return (
        f"audit of {audit.images:,} images: {_share(audit.agreement)} answered as at full depth "
        f"(95 % sure: {_share(audit.agreement_low)} to {_share(audit.agreement_high)}); "
        f"{100 * audit.compute_saved:.1f} % of the MACs saved ({low:.1f} to {high:.1f} % for "
        "images like these); the audit itself took "
        f"{cost_text(audit.extra_gmacs / audit.images)} more for each of its images"
    )


def _share(share: float) -> str:
    return f"{100 * share:.2f} %"
