"""Dynamic Vision Transformers: a cascade that stops at the first confident answer.

Usable alone: knows torch and numpy, nothing of Ray, storage or the command line.

    model = dvt.load_model("shapes")            # shipped name, folder, published file
    logits = model(images)                      # every exit, full depth
    answer = model.predict(images, thresholds)  # early exits, really dropped
"""

from dvt.cascade import Calibration, Cascade, Prediction
from dvt.config import CascadeConfig, Preprocess, TokenGrid
from dvt.cost import gmacs_per_exit
from dvt.errors import CheckpointError, ConfigError, ModelError
from dvt.loading.checkpoint import create_model, load_model, save_model
from dvt.reuse import StageState
from dvt.stage import Stage, StageOutput

__all__ = [
    "Calibration",
    "Cascade",
    "CascadeConfig",
    "CheckpointError",
    "ConfigError",
    "ModelError",
    "Prediction",
    "Preprocess",
    "Stage",
    "StageOutput",
    "StageState",
    "TokenGrid",
    "create_model",
    "gmacs_per_exit",
    "load_model",
    "save_model",
]
