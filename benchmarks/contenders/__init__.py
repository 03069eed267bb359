"""Ways to run the same archive of pixels through the same model; see `benchmarks.engine`.

A contender takes a `Workload` and returns a `Measured`. Its actors compute once before the clock
starts, so the time excludes their start.
"""
