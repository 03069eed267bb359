"""The DVT: all stages in one module, at full depth or with early exits.

`Cascade(images)` runs every stage; training differentiates it. `Cascade.predict` applies the exit
rule in one process and removes images that exited from the batch. The distributed engine uses
neither and runs the stages one by one.

Shapes: B images, S pixels per side.
"""

import hashlib

import torch
from torch import Tensor, nn

from dvt.config import CascadeConfig
from dvt.cost import stage_cost
from dvt.inference import StageExecutor, make_torch_executor
from dvt.model import Calibration, Model, ModelSpec, StageSpec
from dvt.reuse import StageState, StateShape
from dvt.stage import Stage, StageOutput
from dvt.tokenizers import ConvTokenizer

__all__ = ["Cascade", "cascade_spec"]


class Cascade(nn.Module, Model):
    """A Dynamic Vision Transformer.

    Attributes:
        config: its shapes.
    """

    def __init__(
        self,
        config: CascadeConfig,
        labels: tuple[str, ...] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.labels = labels
        self.calibration = calibration or Calibration()
        self.stages = nn.ModuleList(Stage(config, index) for index in range(config.num_stages))
        self.apply(_initialise)

    @property
    def spec(self) -> ModelSpec:
        """As `cascade_spec`."""
        return cascade_spec(self.config)

    def digest(self) -> str:
        """Identifies the configuration and the exact weights, 16 hex digits."""
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def make_executor(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StageExecutor:
        """As `Model.make_executor`; moves and casts the weights in place."""
        weight = next(self.parameters())
        device, dtype = device or weight.device, dtype or weight.dtype
        stages = self.to(device=device, dtype=dtype).eval().stages
        return make_torch_executor(self.spec, list(stages), device, dtype)

    def forward(self, images_B3SS: Tensor) -> list[Tensor]:
        """Logits [B, num_classes] of every exit at full depth."""
        state: StageState | None = None
        logits: list[Tensor] = []
        for stage in self.stages:
            output = stage(images_B3SS, state)
            logits.append(output.logits)
            state = output.state
        return logits

    def _inputs(self, images_B3SS: Tensor) -> Tensor:
        return images_B3SS

    def _run_stage(self, index: int, inputs: Tensor, upstream: StageState | None) -> StageOutput:
        output: StageOutput = self.stages[index](inputs, upstream)
        return output


def cascade_spec(config: CascadeConfig) -> ModelSpec:
    """A DVT as engine and calibration see it."""
    stages: list[StageSpec] = []
    for index, grid in enumerate(config.grids):
        is_last = index == config.num_stages - 1
        cost, tokens = stage_cost(config, index), config.num_tokens(index)
        has_features = config.feature_reuse and not is_last
        has_relations = config.relation_reuse and not is_last
        state = StateShape(
            num_features=grid.size**2 * config.width if has_features else 0,
            num_channels=config.depth * config.num_heads if has_relations else 0,
            num_tokens=tokens,
        )
        stages.append(
            StageSpec(
                name=f"{grid.size}x{grid.size} tokens",
                image_size=config.image_size,
                macs=cost.total,
                useful_macs=cost.useful,
                embedding_width=config.width,
                state=state,
            )
        )
    return ModelSpec(
        config.name, config.num_classes, config.image_size, config.preprocess, tuple(stages)
    )


def _initialise(module: nn.Module) -> None:
    """Initialises as DeiT: truncated normal weights of deviation 0.02, zero biases.

    Stems follow He et al. (2015), which preserves the scale of activations.
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, ConvTokenizer):  # visited after its convolutions
        for name, weight in module.stem.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(weight)
        nn.init.kaiming_normal_(module.projection.weight, nonlinearity="linear")
    elif isinstance(module, Stage):
        nn.init.trunc_normal_(module.class_token, std=0.02)
