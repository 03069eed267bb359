"""One stage of the cascade: a complete Transformer that runs alone.

It takes images and the previous stage's state, and returns logits and its own state.

Shapes: B images, S pixels per side, N tokens (class token first), D width, L layers, H heads.
"""

from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvt.block import Block
from dvt.config import CascadeConfig
from dvt.reuse import RelationReuse, StageState, resize_matrix, reused_features
from dvt.tokenizers import make_tokenizer

__all__ = ["Stage", "StageOutput", "sinusoid_positions"]


@dataclass(frozen=True, slots=True)
class StageOutput:
    """Output of a stage, one row per image.

    Attributes:
        logits: [B, num_classes].
        embedding: [B, D] of the image, here the class token after the final LayerNorm; None if the
            network offers none.
        state: for the next stage; None after the last one.
    """

    logits: Tensor
    embedding: Tensor | None
    state: StageState | None

    def __getitem__(self, rows: Tensor | slice) -> Self:
        """The output for some of the images."""
        state = None if self.state is None else self.state[rows]
        embedding = None if self.embedding is None else self.embedding[rows]
        return type(self)(self.logits[rows], embedding, state)


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
        # Without a next stage, only the class token of the last block is read.
        emits = self.emits_features or self.emits_relations
        self.num_full_blocks = config.depth if emits else config.depth - 1
        self.tokenizer = make_tokenizer(config, index)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        if config.position_embedding == "learned":
            positions = torch.randn(1, self.num_tokens, config.width).mul_(0.02)
        else:
            positions = sinusoid_positions(self.num_tokens, config.width)
        self.positions = nn.Parameter(
            positions, requires_grad=config.position_embedding == "learned"
        )
        self.reuses_features = config.reuses_features(index)
        self.relation_reuse = (
            RelationReuse(config, index) if config.reuses_relations(index) else None
        )
        if self.reuses_features:
            resize = resize_matrix(config.grids[index - 1].size, config.grids[index].size)
            self.feature_resize: Tensor
            self.register_buffer("feature_resize", F.pad(resize, (0, 0, 1, 0)), persistent=False)
        self.blocks = nn.ModuleList(Block(config, index) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.width, config.num_classes)

    def forward(self, images_B3SS: Tensor, upstream: StageState | None = None) -> StageOutput:
        """Runs the stage.

        Args:
            images_B3SS: normalised images.
            upstream: the previous stage's state for the same images in the same order; None for
                the first stage, or without reuse.

        Raises:
            ValueError: `upstream` lacks what this stage reuses.
        """
        features, relations = self._reused(upstream)
        tokens_BGD = self.tokenizer(images_B3SS)
        class_token_B1D = self.class_token.expand(tokens_BGD.shape[0], -1, -1)
        x_BND = torch.cat([class_token_B1D, tokens_BGD], dim=1) + self.positions
        own_relations: list[Tensor] = []
        for layer, block in enumerate(self._blocks):
            relation = None if relations is None else relations[layer]
            if layer >= self.num_full_blocks:
                x_BND = block.forward_class_token(x_BND, relation)
                continue
            feature = None if features is None else features[layer]
            if self.emits_relations:
                x_BND, logits_HBNN = block.forward_emitting(x_BND, feature, relation)
                own_relations.append(logits_HBNN)
            else:
                x_BND = block(x_BND, feature, relation)
        class_token_BD = self.norm(x_BND[:, 0])
        return StageOutput(
            logits=self.head(class_token_BD),
            embedding=class_token_BD,
            state=self._state(x_BND, own_relations),
        )

    @property
    def _blocks(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))

    def _reused(self, upstream: StageState | None) -> tuple[Tensor | None, Tensor | None]:
        """Reused features [L, B, N, 48] and relations [L, H, B, N, N], on this stage's grid."""
        features = relations = None
        if not self.reuses_features and self.relation_reuse is None:
            return features, relations
        if upstream is None:
            raise ValueError(f"stage {self.index + 1}: needs the state of stage {self.index}")
        if self.relation_reuse is not None:
            if upstream.relations is None:
                raise ValueError(f"stage {self.index + 1}: upstream state has no relations")
            relations = self.relation_reuse(upstream.relations).unflatten(0, (len(self.blocks), -1))
        if self.reuses_features:
            if upstream.features is None:
                raise ValueError(f"stage {self.index + 1}: upstream state has no features")
            full_blocks = self._blocks[: self.num_full_blocks]
            networks = [block.feature_reuse for block in full_blocks if block.feature_reuse]
            if networks:
                features = reused_features(networks, upstream.features, self.feature_resize)
        return features, relations

    def _state(self, x_BND: Tensor, relations: list[Tensor]) -> StageState | None:
        if not (self.emits_features or self.emits_relations):
            return None
        return StageState(
            features=x_BND[:, 1:] if self.emits_features else None,
            relations=torch.cat(relations) if self.emits_relations else None,
        )
