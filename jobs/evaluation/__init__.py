"""`dvt eval`: accuracy of each exit, accuracy/cost curves, the record of every exit."""
