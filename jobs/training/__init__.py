"""`dvt train`: recipes, the checkpoint folder, the epoch loop, data-parallel workers, learning curves."""
