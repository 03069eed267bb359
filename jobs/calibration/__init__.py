"""Threshold fitting for `dvt calibrate` and `dvt tag`: the fit, thresholds files, schedules for deadlines."""
