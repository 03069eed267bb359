"""Thresholds and what they give: the reference's sweep, a joint search, and proofs.

Works on plain numpy arrays of recorded exits (`confidences_En`, and whether each answer was right,
`correct_En`), so any model's exits can be calibrated. It knows nothing of images, files or devices.
"""

from dvt.calibration.bounds import (
    betting_p_value,
    binomial_p_value,
    fewest_images,
    good_bet,
    most_failures,
)
from dvt.calibration.held_out import HELD_OUT, HeldOut
from dvt.calibration.intervals import clopper_pearson
from dvt.calibration.joint import JointSearch
from dvt.calibration.ladder import (
    ThresholdSet,
    certified_rows,
    nested_rows,
    rows_above,
    rungs_of,
    share_lost_at_worst,
)
from dvt.calibration.learn_then_test import (
    RISKS,
    Candidate,
    Certificate,
    Risk,
    candidates_from_safest,
    certified_thresholds,
)
from dvt.calibration.points import OperatingPoint, evaluate_thresholds, exits_taken
from dvt.calibration.sweep import (
    SWEEP_POSITIONS,
    exit_shares,
    sweep_thresholds,
    thresholds_for_shares,
)

__all__ = [
    "HELD_OUT",
    "RISKS",
    "SWEEP_POSITIONS",
    "Candidate",
    "Certificate",
    "HeldOut",
    "JointSearch",
    "OperatingPoint",
    "Risk",
    "ThresholdSet",
    "betting_p_value",
    "binomial_p_value",
    "candidates_from_safest",
    "certified_rows",
    "certified_thresholds",
    "clopper_pearson",
    "evaluate_thresholds",
    "exit_shares",
    "exits_taken",
    "fewest_images",
    "good_bet",
    "most_failures",
    "nested_rows",
    "rows_above",
    "rungs_of",
    "share_lost_at_worst",
    "sweep_thresholds",
    "thresholds_for_shares",
]
