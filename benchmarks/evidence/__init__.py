"""The evidence: what a cascade trained on real pictures saves, and what of it is sure.

    python -m benchmarks.evidence all --models MODELS --data cifar10/test.parquet

`record` runs every model once, to full depth, over held-out and test pictures; `curves`, `savings`,
`ablation`, `signals` and `pictures` only look at what it kept. `throughput` measures on the clock.
`page` writes the tables and drawings of docs/evidence.md and docs/cifar10.md from the results.

Thresholds are chosen on held-out pictures and judged on test pictures; where something is chosen on
test pictures, as the paper does, its name says so.
"""
