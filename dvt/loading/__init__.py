"""Models by name, checkpoint folder, file or hub; state-dict key mapping.

A file's way: `sources` finds it (`hub` downloads it), `checkpoint.load_model` tells its kind,
`hub_config` reads the `config.json` beside it. `networks` loads ONNX and `torch.export` files. For
weights, `published` reads the container, `state_dict_adapter` (for transformers, `transformers`
first) maps keys and derives the configuration, and `weights` checks every key and shape and builds
the model.
"""

from dvt.loading.checkpoint import (
    DEFAULT_MODEL,
    checkpoint_folder,
    create_model,
    load_calibration,
    load_cascade,
    load_model,
    save_calibration,
    save_model,
)
from dvt.loading.networks import files_of_model
from dvt.loading.sources import find_model, is_on_hub, pin_model, same_model, shipped_models

__all__ = [
    "DEFAULT_MODEL",
    "checkpoint_folder",
    "create_model",
    "files_of_model",
    "find_model",
    "is_on_hub",
    "load_calibration",
    "load_cascade",
    "load_model",
    "pin_model",
    "same_model",
    "save_calibration",
    "save_model",
    "shipped_models",
]
