"""Audits: a sample of the images runs to full depth, to measure what early exits cost."""
