"""Training behind `dvt train`: recipes, the training folder, the loop, Ray Train workers."""
