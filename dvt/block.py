"""One pre-norm Transformer block, with room for what an upstream stage passes on.

Shapes: B images, N tokens (class token first), D width, H heads, C = 48 reused channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvt.config import CascadeConfig
from dvt.reuse import FeatureReuse

__all__ = ["Attention", "Block"]


class Attention(nn.Module):
    """Multi-head self-attention whose logits can be added to and handed out."""

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.scale = config.head_width**-0.5
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.proj = nn.Linear(config.width, config.width)

    def forward(
        self, x_BND: Tensor, relations_BHNN: Tensor | None, emit_relations: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attended tokens [B, N, D], and the logits [B, H, N, N] if asked for.

        The fused kernel never shows its logits, so it serves only where nobody reads them.
        """
        num_images, num_tokens, width = x_BND.shape
        qkv = self.qkv(x_BND).reshape(num_images, num_tokens, 3, self.num_heads, -1)
        query_BHNd, key_BHNd, value_BHNd = qkv.permute(2, 0, 3, 1, 4)
        logits_BHNN = None
        if emit_relations:
            logits_BHNN = (query_BHNd * self.scale) @ key_BHNd.transpose(-2, -1)
            if relations_BHNN is not None:
                logits_BHNN = logits_BHNN + relations_BHNN
            attended_BHNd = logits_BHNN.softmax(dim=-1) @ value_BHNd
        else:
            attended_BHNd = F.scaled_dot_product_attention(
                query_BHNd, key_BHNd, value_BHNd, attn_mask=relations_BHNN, scale=self.scale
            )
        merged_BND = attended_BHNd.transpose(1, 2).reshape(num_images, num_tokens, width)
        return self.proj(merged_BND), logits_BHNN


class Block(nn.Module):
    """LayerNorm, attention, LayerNorm, MLP; reused features widen the MLP's input."""

    def __init__(self, config: CascadeConfig, stage: int) -> None:
        super().__init__()
        reused = config.feature_reuse_width if config.reuses_features(stage) else 0
        self.norm1 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attention = Attention(config)
        self.feature_reuse = FeatureReuse(config, stage) if reused else None
        self.norm2 = nn.LayerNorm(config.width + reused, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.width + reused, config.mlp_hidden)
        self.fc2 = nn.Linear(config.mlp_hidden, config.width)

    def forward(
        self,
        x_BND: Tensor,
        features_BND: Tensor | None,
        relations_BHNN: Tensor | None,
        emit_relations: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, N, D] after the block, and its logits [B, H, N, N] if asked for.

        Args:
            x_BND: the stage's own tokens.
            features_BND: upstream features on the *upstream* grid, if they are reused.
            relations_BHNN: what to add to this block's logits, on the own grid.
            emit_relations: whether to return the logits.
        """
        attended_BND, logits_BHNN = self.attention(
            self.norm1(x_BND), relations_BHNN, emit_relations
        )
        x_BND = x_BND + attended_BND
        widened = x_BND
        if self.feature_reuse is not None:
            assert features_BND is not None, "a stage with feature reuse needs upstream features"
            widened = torch.cat([x_BND, self.feature_reuse(features_BND)], dim=-1)
        return x_BND + self.fc2(F.gelu(self.fc1(self.norm2(widened)))), logits_BHNN
