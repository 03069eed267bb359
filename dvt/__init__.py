"""Dynamic Vision Transformers: cascades that exit early on confident predictions.

The model alone, on torch and numpy; no Ray, storage or command line.

    model = dvt.load_model("shapes")              # shipped name, folder or published file
    logits = model(images)                        # of every exit, at full depth
    prediction = model.predict(images, thresholds)  # with early exits
"""

from dvt.cascade import Calibration, Cascade, Prediction
from dvt.config import CascadeConfig, Preprocess, TokenGrid
from dvt.cost import gmacs_per_exit
from dvt.errors import CheckpointError, ConfigError, ModelError
from dvt.loading import create_model, load_model, save_model
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
