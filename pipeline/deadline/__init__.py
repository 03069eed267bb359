"""Thresholds that move during a run so that it ends in time."""
