"""How a cascade is trained: one frozen record, read from a YAML file."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["TrainingRecipe"]

Share = Annotated[float, Field(ge=0, lt=1)]


class TrainingRecipe(BaseModel):
    """Hyperparameters; the defaults suit a small cascade on one machine.

    Self-distillation follows Dynamic Perceiver (ICCV 2023): earlier exits learn from the last
    one's softened answer. Label smoothing is 0 unless asked for: it makes confidence a worse
    ranking, and confidence decides about exits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 128
    seed: Annotated[int, Field(ge=0)] = 0

    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    final_learning_rate: Annotated[float, Field(ge=0)] = 1e-5
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    momentum: Annotated[Share, Field(description="of sgd and muon")] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    gradient_clip: Annotated[float, Field(gt=0, description="global L2 norm")] = 1.0
    ema_decay: Annotated[
        Share, Field(description="a step, of the averaged weights that are kept; 0: the last ones")
    ] = 0.0
    batch_norm: Annotated[
        bool, Field(description="in the stem of a conv tokenizer, folded away at the end")
    ] = True

    label_smoothing: Share = 0.0
    distillation_weight: Annotated[float, Field(ge=0, description="0 switches it off")] = 0.5
    drop_path: Annotated[Share, Field(description="of the last block; earlier ones less")] = 0.0

    horizontal_flip: bool = True
    vertical_flip: bool = False
    shift: Annotated[int, Field(ge=0, description="pixels each way, mirrored at the border")] = 0
    scale_jitter: Annotated[Share, Field(description="zoom in by up to this")] = 0.1
    brightness_jitter: Share = 0.1
    rand_augment: Annotated[int, Field(ge=0, description="operations an image")] = 0
    rand_augment_magnitude: Annotated[float, Field(ge=0, le=10)] = 9.0
    erase: Annotated[Share, Field(description="side of a grey square, of the image's")] = 0.0
    mixup: Annotated[float, Field(ge=0, description="alpha; 0 switches it off")] = 0.0
    cutmix: Annotated[float, Field(ge=0, description="alpha; 0 switches it off")] = 0.0
    mix_until: Annotated[
        float, Field(ge=0, le=1, description="share of the training with mixup and cutmix")
    ] = 0.85
