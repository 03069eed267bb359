"""The evidence: MACs that a cascade trained on real images saves against static models.

    python -m benchmarks.evidence measure --models MODELS --data cifar10/test.parquet

`measure` runs each model once, to full depth, over held-out and test images, and computes all
accuracies and savings. `throughput` measures images a second. Both keep their results as
benchmarks/results/evidence-*.json. `page` writes the tables and the chart of docs/evidence.md and
docs/cifar10.md from these results.

Thresholds are chosen on held-out images and evaluated on test images.
"""
