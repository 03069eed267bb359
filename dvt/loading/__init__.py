"""Models by name, checkpoint folder or file; state-dict key mapping.

A file's way: `checkpoint.load_model` finds it, `published` reads its container, `hub_config` the
`config.json` beside it, `state_dict_adapter` (for transformers, `transformers` first) maps its keys
and derives the configuration, `weights` checks every key and shape and builds the model.
"""

from dvt.loading.checkpoint import (
    DEFAULT_MODEL,
    checkpoint_folder,
    create_model,
    find_model,
    load_calibration,
    load_cascade,
    load_model,
    save_calibration,
    save_model,
    shipped_models,
)

__all__ = [
    "DEFAULT_MODEL",
    "checkpoint_folder",
    "create_model",
    "find_model",
    "load_calibration",
    "load_cascade",
    "load_model",
    "save_calibration",
    "save_model",
    "shipped_models",
]
