"""Checkpoints of every kind: own folders, published files, timm folders; state-dict key mapping."""
