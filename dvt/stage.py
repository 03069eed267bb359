"""One stage of the cascade: a whole Transformer that can be run alone.

Images and upstream state in, logits and own state out; that is what an actor calls.
Knows nothing of the other stages but the shape of what it receives.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from dvt.block import Block
from dvt.config import CascadeConfig
from dvt.reuse import RelationReuse, StageState
from dvt.tokenizers import make_tokenizer

__all__ = ["Stage", "StageOutput", "sinusoid_positions"]


@dataclass(frozen=True, slots=True)
class StageOutput:
    """What a stage says of its images, row by row in their order.

    Attributes:
        logits: [B, num_classes].
        class_token: [B, D], the class token after the final LayerNorm.
        state: for the next stage; None after the last one.
    """

    logits: Tensor
    class_token: Tensor
    state: StageState | None

    def __getitem__(self, rows: Tensor | slice) -> Self:
        """The output for some of the images."""
        state = None if self.state is None else self.state[rows]
        return type(self)(self.logits[rows], self.class_token[rows], state)


def sinusoid_positions(num_tokens: int, width: int) -> Tensor:
    """Fixed position embedding [1, N, D] (Vaswani et al. 2017, section 3.5)."""
    position = torch.arange(num_tokens, dtype=torch.float64).unsqueeze(1)
    channel = torch.arange(width, dtype=torch.float64)
    angle = position / 10000 ** (2 * (channel // 2) / width)
    angle[:, 0::2], angle[:, 1::2] = angle[:, 0::2].sin(), angle[:, 1::2].cos()
    return angle.float().unsqueeze(0)


class Stage(nn.Module):
    """Stage `index` (from 0) of a cascade."""

    def __init__(self, config: CascadeConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.num_tokens = config.num_tokens(index)
        is_last = index == config.num_stages - 1
        self.emits_features = config.feature_reuse and not is_last
        self.emits_relations = config.relation_reuse and not is_last
        self.tokenizer = make_tokenizer(config, index)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        if config.position_embedding == "learned":
            positions = torch.randn(1, self.num_tokens, config.width).mul_(0.02)
        else:
            positions = sinusoid_positions(self.num_tokens, config.width)
        self.positions = nn.Parameter(
            positions, requires_grad=config.position_embedding == "learned"
        )
        self.relation_reuse = (
            RelationReuse(config, index) if config.reuses_relations(index) else None
        )
        self.blocks = nn.ModuleList(Block(config, index) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.width, config.num_classes)

    def forward(self, images_B3SS: Tensor, upstream: StageState | None = None) -> StageOutput:
        """Runs the stage.

        Args:
            images_B3SS: normalised images, [B, 3, S, S].
            upstream: state of the stage before, for the same images in the same order; None for
                the first stage, or where nothing is reused.

        Raises:
            ValueError: this stage reuses what `upstream` does not hold.
        """
        features, relations = self._reused(upstream)
        tokens_BGD = self.tokenizer(images_B3SS)
        class_token_B1D = self.class_token.expand(len(tokens_BGD), -1, -1)
        x_BND = torch.cat([class_token_B1D, tokens_BGD], dim=1) + self.positions
        own_relations: list[Tensor] = []
        for layer, block in enumerate(self.blocks):
            added = None if relations is None else relations[layer]
            x_BND, logits_BHNN = block(x_BND, features, added, self.emits_relations)
            if logits_BHNN is not None:
                own_relations.append(logits_BHNN)
        class_token_BD = self.norm(x_BND[:, 0])
        return StageOutput(
            logits=self.head(class_token_BD),
            class_token=class_token_BD,
            state=self._state(x_BND, own_relations),
        )

    def _reused(self, upstream: StageState | None) -> tuple[Tensor | None, Tensor | None]:
        """Upstream features as they came, and relations already mixed and on the own grid."""
        features = relations = None
        wants_features = self.blocks[0].feature_reuse is not None
        if wants_features or self.relation_reuse is not None:
            if upstream is None:
                raise ValueError(f"stage {self.index + 1}: needs the state of stage {self.index}")
            if wants_features:
                features = upstream.features
            if self.relation_reuse is not None:
                if upstream.relations is None:
                    raise ValueError(f"stage {self.index + 1}: upstream state has no relations")
                relations = self.relation_reuse(upstream.relations)
            if wants_features and features is None:
                raise ValueError(f"stage {self.index + 1}: upstream state has no features")
        return features, relations

    def _state(self, x_BND: Tensor, relations: list[Tensor]) -> StageState | None:
        if not (self.emits_features or self.emits_relations):
            return None
        return StageState(
            features=x_BND if self.emits_features else None,
            relations=torch.cat(relations, dim=1) if self.emits_relations else None,
        )
