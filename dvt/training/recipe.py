"""Hyperparameters of a training."""

from typing import Annotated, Literal

from pydantic import Field

from dvt.validation import FrozenModel

__all__ = ["TrainingRecipe"]

Share = Annotated[float, Field(ge=0, lt=1)]


class TrainingRecipe(FrozenModel):
    """Hyperparameters; the defaults suit a small cascade on one machine.

    Self-distillation follows Dynamic Perceiver (ICCV 2023): earlier exits learn from the last
    exit's soft prediction. Label smoothing defaults to 0 because it makes confidence a worse
    ranking, and confidence decides the exit.
    """

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
        Share, Field(description="of the weight average, per step; 0 keeps the last weights")
    ] = 0.0
    batch_norm: Annotated[
        bool, Field(description="in the stem of a conv tokenizer, folded into it at the end")
    ] = True

    label_smoothing: Share = 0.0
    distillation_weight: Annotated[float, Field(ge=0, description="0 disables it")] = 0.5
    drop_path: Annotated[Share, Field(description="of the last block; lower for earlier ones")] = (
        0.0
    )

    horizontal_flip: bool = True
    shift: Annotated[int, Field(ge=0, description="pixels each way, border mirrored")] = 0
    scale_jitter: Annotated[Share, Field(description="largest zoom")] = 0.1
    brightness_jitter: Share = 0.1
    erase: Annotated[Share, Field(description="side of a grey square, as a share of the image")] = (
        0.0
    )
    mixup: Annotated[float, Field(ge=0, description="alpha; 0 disables it")] = 0.0
    cutmix: Annotated[float, Field(ge=0, description="alpha; 0 disables it")] = 0.0
    mix_until: Annotated[
        float, Field(ge=0, le=1, description="share of the training with mixup and cutmix")
    ] = 0.85
