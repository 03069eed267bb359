"""Measurements of speed, memory and accuracy. Run by hand, one command each: see README.md."""
