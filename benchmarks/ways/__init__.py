"""The same archive of pixels through the same model, each way a module; see `benchmarks.engine`.

A way takes a `Workload` and gives back what it `Answered`. It starts its actors and lets each of
them compute once before its clock runs: starting is told apart from working.
"""
