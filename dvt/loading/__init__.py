"""Models by name, checkpoint folder or published file; state-dict key mapping."""

from dvt.loading.checkpoint import (
    DEFAULT_MODEL,
    checkpoint_folder,
    create_model,
    load_calibration,
    load_model,
    model_digest,
    save_calibration,
    save_model,
    shipped_models,
)

__all__ = [
    "DEFAULT_MODEL",
    "checkpoint_folder",
    "create_model",
    "load_calibration",
    "load_model",
    "model_digest",
    "save_calibration",
    "save_model",
    "shipped_models",
]
