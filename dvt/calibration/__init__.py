"""Thresholds from recorded exits: the reference's sweep, certified bounds, schedules for deadlines.

Works on plain numpy arrays of recorded exits, so the exits of any model can be calibrated. Knows
nothing about images or devices.
"""

from dvt.calibration.bounds import (
    betting_p_value,
    binomial_p_value,
    fewest_bets,
    fewest_images,
    good_bet,
    most_failures,
)
from dvt.calibration.intervals import clopper_pearson
from dvt.calibration.learn_then_test import (
    Certificate,
    certified_thresholds,
    certify_sequence,
)
from dvt.calibration.paths import cheapest_path, swept_path, uniform_path
from dvt.calibration.points import (
    OperatingPoint,
    Thresholds,
    evaluate_thresholds,
    exits_taken,
    mean_gmacs,
)
from dvt.calibration.recorded_exits import HELD_OUT, RecordedExits, Risk
from dvt.calibration.sweep import (
    SWEEP_POSITIONS,
    exit_shares,
    sweep_thresholds,
    thresholds_for_budget,
    thresholds_for_shares,
)
from dvt.calibration.threshold_schedule import (
    ThresholdSchedule,
    ThresholdSet,
    certified_schedule,
    schedule_above_floor,
    share_lost_at_worst,
    threshold_sets,
)

__all__ = [
    "HELD_OUT",
    "SWEEP_POSITIONS",
    "Certificate",
    "OperatingPoint",
    "RecordedExits",
    "Risk",
    "ThresholdSchedule",
    "ThresholdSet",
    "Thresholds",
    "betting_p_value",
    "binomial_p_value",
    "certified_schedule",
    "certified_thresholds",
    "certify_sequence",
    "cheapest_path",
    "clopper_pearson",
    "evaluate_thresholds",
    "exit_shares",
    "exits_taken",
    "fewest_bets",
    "fewest_images",
    "good_bet",
    "mean_gmacs",
    "most_failures",
    "schedule_above_floor",
    "share_lost_at_worst",
    "sweep_thresholds",
    "swept_path",
    "threshold_sets",
    "thresholds_for_budget",
    "thresholds_for_shares",
    "uniform_path",
]
