"""Deadlines: thresholds that move during a run so that it ends in time.

`policy` predicts and chooses (pure), `controller` connects it with the run, `log` records which
thresholds were used.
"""
