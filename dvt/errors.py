"""The errors of the model package.

    ValueError
    └── ModelError          a model was used incorrectly
        ├── ConfigError     a configuration that describes no valid cascade
        └── CheckpointError a file that is not a usable checkpoint

Each message is one line that names the field, the value and what is allowed.
"""

__all__ = ["CheckpointError", "ConfigError", "ModelError"]


class ModelError(ValueError):
    """Base of all errors that `dvt` raises on purpose."""


class ConfigError(ModelError):
    """A configuration with contradictory fields or values out of range."""


class CheckpointError(ModelError):
    """A checkpoint that is missing, damaged, hostile, or of an unsupported model."""
