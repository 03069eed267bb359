"""Dynamic Vision Transformers: cascades that exit early on confident predictions.

The model alone, on torch and numpy; no Ray, storage or command line.

    model = dvt.load_model("shapes")              # shipped name, folder or published file
    logits = model(images)                        # of every exit, at full depth
    prediction = model.predict(images, thresholds)  # with early exits
"""

from dvt.cascade import Cascade
from dvt.config import CascadeConfig, Preprocess, TokenGrid
from dvt.errors import CheckpointError, ConfigError, ModelError
from dvt.loading import create_model, load_cascade, load_model, save_model
from dvt.model import Calibration, Model, ModelSpec, Prediction, StageSpec
from dvt.reuse import StageState
from dvt.stage import Stage, StageOutput

__all__ = [
    "Calibration",
    "Cascade",
    "CascadeConfig",
    "CheckpointError",
    "ConfigError",
    "Model",
    "ModelError",
    "ModelSpec",
    "Prediction",
    "Preprocess",
    "Stage",
    "StageOutput",
    "StageSpec",
    "StageState",
    "TokenGrid",
    "create_model",
    "load_cascade",
    "load_model",
    "save_model",
]
