"""Audited images: which they are, predictions held until full depth is known, and the summary."""
