"""How a cascade is trained: one frozen record, read from a YAML file."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["TrainingRecipe"]


class TrainingRecipe(BaseModel):
    """Hyperparameters; the defaults suit a small cascade on one machine.

    Self-distillation follows Dynamic Perceiver (ICCV 2023): earlier exits learn from the last
    one's softened answer. Label smoothing is 0 unless asked for: it makes confidence a worse
    ranking, and confidence decides about exits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    final_learning_rate: Annotated[float, Field(ge=0)] = 1e-5
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    distillation_weight: Annotated[float, Field(ge=0, description="0 switches it off")] = 0.5
    gradient_clip: Annotated[float, Field(gt=0, description="global L2 norm")] = 1.0
    horizontal_flip: bool = True
    vertical_flip: bool = False
    scale_jitter: Annotated[float, Field(ge=0, lt=1, description="zoom in by up to this")] = 0.1
    brightness_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: int = 0
