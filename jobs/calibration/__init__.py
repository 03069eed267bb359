"""Thresholds for `dvt calibrate` and `dvt tag`: fitting, choosing, files, texts."""
