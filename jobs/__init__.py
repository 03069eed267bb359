"""The command line: commands, and what they do with the engine and the models."""
