"""The errors of the model package.

    ValueError
    └── ModelError          anything a caller did wrong with a model
        ├── ConfigError     a configuration that describes no possible cascade
        └── CheckpointError a file that is no usable checkpoint, or not of this model

All of them carry one line that names the field, the value and what is allowed.
"""

__all__ = ["CheckpointError", "ConfigError", "ModelError"]


class ModelError(ValueError):
    """Base of all errors that `dvt` raises on purpose."""


class ConfigError(ModelError):
    """A configuration whose fields contradict each other or are out of range."""


class CheckpointError(ModelError):
    """A checkpoint that is missing, damaged, hostile, or not of the expected model."""
