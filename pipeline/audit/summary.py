"""The audit of a run: which images are sampled, and what they say about the whole archive.

A share of the images, drawn by their keys alone, runs to full depth besides its early prediction.
If both have the same label they *agree* (with `--sure-of group`: labels of the same group); no true
labels are needed. Each image is drawn
independently, so the sample is a simple random one, and the intervals hold for any archive.

Pure: keys and counts; no tables, no model. Shapes: E exits, n images.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dvt.calibration import clopper_pearson

__all__ = ["Agreement", "AuditCounts", "AuditSummary", "in_audit", "summarise_audit"]

_CONFIDENCE = 0.95
# Makes the sample independent of other draws by key, such as the halves of a calibration.
_SALT = b"dvt audit"


def in_audit(keys: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Which images are audited, [n]; the same on every machine and in every run.

    Args:
        keys: of the images.
        share: of all images, above 0 and at most 1.
    """
    border = share * 2**64
    return np.array([_hash(key) < border for key in keys], dtype=bool)


def _hash(key: str) -> int:
    content = key.encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(content, digest_size=8, person=_SALT).digest(), "big")


class Agreement(BaseModel):
    """How many predictions agree with full depth, and their share with its interval (95 %)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    images: int
    agreeing: int
    agreement: float | None
    agreement_low: float
    agreement_high: float


class AuditSummary(Agreement):
    """What an audit says about an archive; compute is in shares of full depth's MACs."""

    exits: Annotated[
        tuple[Agreement, ...],
        Field(description="by the exit of the early prediction; the last exit agrees"),
    ]
    compute_saved: Annotated[
        float | None, Field(description="counted over all images that were computed")
    ]
    compute_saved_low: Annotated[
        float, Field(description="for archives like this one, from the audited images")
    ]
    compute_saved_high: float
    extra_gmacs: Annotated[
        float, Field(description="spent on the audit itself; not part of gmacs_per_image")
    ]


class AuditCounts:
    """Audited images, and those that agree, by exit.

    Args:
        num_exits: of the model.
    """

    def __init__(self, num_exits: int) -> None:
        self.images = np.zeros(num_exits, dtype=np.int64)
        self.agreeing = np.zeros(num_exits, dtype=np.int64)

    def add(
        self,
        exit_stages: NDArray[np.integer],
        agrees: NDArray[np.bool_],
    ) -> None:
        """Adds audited images: exits (from 1), and whether full depth agrees, [n]."""
        exits = exit_stages.astype(np.int64) - 1
        self.images += np.bincount(exits, minlength=len(self.images))
        self.agreeing += np.bincount(exits[agrees], minlength=len(self.images))


def summarise_audit(
    counts: AuditCounts, num_computed: NDArray[np.int64], gmacs_per_exit: Sequence[float]
) -> AuditSummary:
    """Shares with exact intervals.

    Args:
        counts: of the audited images.
        num_computed: all images by exit, without copies of others, [E].
        gmacs_per_exit: cumulative cost of each exit.
    """
    gmacs = np.array(gmacs_per_exit)
    low, high = _saved_interval(counts.images, gmacs)
    num_images = int(num_computed.sum())
    saved = 1 - num_computed @ gmacs / (num_images * gmacs[-1]) if num_images else None
    return AuditSummary(
        **_agreement(int(counts.images.sum()), int(counts.agreeing.sum())).model_dump(),
        exits=tuple(map(_agreement, counts.images.tolist(), counts.agreeing.tolist())),
        compute_saved=saved,
        compute_saved_low=low,
        compute_saved_high=high,
        extra_gmacs=float(counts.images @ (gmacs[-1] - gmacs)),
    )


def _agreement(num_images: int, num_agreeing: int) -> Agreement:
    low, high = clopper_pearson(num_agreeing, num_images, _CONFIDENCE)
    return Agreement(
        images=num_images,
        agreeing=num_agreeing,
        agreement=num_agreeing / num_images if num_images else None,
        agreement_low=low,
        agreement_high=high,
    )


def _saved_interval(
    num_exited: NDArray[np.int64], gmacs: NDArray[np.float64]
) -> tuple[float, float]:
    """Contains the mean saving for images like these with a probability of at least 95 %.

    An image that exits saves every later stage. So the mean saving is a sum over all exits but the
    last: the next stage's share of the cost, times the share of the images that have exited by
    then. There are exact intervals for these shares; their errors add up to at most 5 %
    (Bonferroni).
    """
    num_images = int(num_exited.sum())
    weights = np.diff(gmacs) / gmacs[-1]
    if not len(weights):
        return 0.0, 0.0
    confidence = 1 - (1 - _CONFIDENCE) / len(weights)
    shares = [
        clopper_pearson(int(number), num_images, confidence) for number in num_exited.cumsum()[:-1]
    ]
    low, high = weights @ np.array(shares)
    return float(low), float(high)
