"""A pre-norm Transformer block that reuses features and relations of the previous stage.

Shapes: B images, N tokens (class token first), D width, H heads, d = D / H, C = 48 reused channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvt.config import CascadeConfig
from dvt.reuse import FeatureReuse

__all__ = ["Attention", "Block"]


class Attention(nn.Module):
    """Multi-head self-attention that can add to its logits and return them."""

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.scale = config.head_width**-0.5
        self.has_bias = config.qkv_bias
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x_BND: Tensor, relations_HBNN: Tensor | None) -> Tensor:
        """Attended tokens [B, N, D], by the fused kernel that never stores the logits."""
        heads_BHN3d = self.qkv(x_BND).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads_BHN3d.permute(2, 0, 3, 1, 4).unbind(0)
        return self._merge(self._fused(query, key, value, relations_HBNN))

    def forward_emitting(
        self, x_BND: Tensor, relations_HBNN: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Attended tokens [B, N, D] and the logits [H, B, N, N] for the next stage."""
        heads = self.qkv(x_BND).unflatten(-1, (3, self.num_heads, -1)).permute(2, 3, 0, 1, 4)
        # Heads and images as one batch dimension: the layout of the state, with one copy here
        # instead of one per product.
        query, key, value = heads.flatten(1, 2).contiguous().unbind(0)
        if relations_HBNN is None:
            logits = (query * self.scale) @ key.transpose(-2, -1)
        else:
            logits = torch.baddbmm(
                relations_HBNN.flatten(0, 1), query, key.transpose(-2, -1), alpha=self.scale
            )
        attended = (logits.softmax(dim=-1) @ value).unflatten(0, heads.shape[1:3])
        return self._merge(attended.transpose(0, 1)), logits.unflatten(0, heads.shape[1:3])

    def forward_class_token(self, x_BND: Tensor, relations_HBNN: Tensor | None) -> Tensor:
        """The attended class token [B, 1, D]: the only query."""
        width = x_BND.shape[-1]
        weight, query_bias, other_bias = self.qkv.weight, None, None
        if self.has_bias:
            query_bias, other_bias = self.qkv.bias[:width], self.qkv.bias[width:]
        query = F.linear(x_BND[:, :1], weight[:width], query_bias)
        query_BH1d = query.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key_value = F.linear(x_BND, weight[width:], other_bias)
        heads_BN2Hd = key_value.unflatten(-1, (2, self.num_heads, -1))
        key, value = heads_BN2Hd.permute(2, 0, 3, 1, 4).unbind(0)
        if relations_HBNN is not None:
            relations_HBNN = relations_HBNN[:, :, :1]
        return self._merge(self._fused(query_BH1d, key, value, relations_HBNN))

    def _fused(
        self, query_BHNd: Tensor, key: Tensor, value: Tensor, relations_HBNN: Tensor | None
    ) -> Tensor:
        mask = None if relations_HBNN is None else relations_HBNN.transpose(0, 1)
        return F.scaled_dot_product_attention(
            query_BHNd, key, value, attn_mask=mask, scale=self.scale
        )

    def _merge(self, attended_BHNd: Tensor) -> Tensor:
        return self.proj(attended_BHNd.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """LayerNorm, attention, LayerNorm and MLP; reused features widen the MLP's input."""

    def __init__(self, config: CascadeConfig, stage: int) -> None:
        super().__init__()
        reused = config.feature_reuse_width if config.reuses_features(stage) else 0
        self.norm1 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attention = Attention(config)
        self.feature_reuse = FeatureReuse(config) if reused else None
        self.norm2 = nn.LayerNorm(config.width + reused, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.width + reused, config.mlp_hidden)
        self.fc2 = nn.Linear(config.mlp_hidden, config.width)

    def forward(
        self, x_BND: Tensor, reused_BNC: Tensor | None, relations_HBNN: Tensor | None
    ) -> Tensor:
        """Tokens [B, N, D] after the block.

        Args:
            x_BND: the stage's own tokens.
            reused_BNC: upstream features for this block, resized to this stage's grid.
            relations_HBNN: addition to this block's logits, resized to this stage's grid.
        """
        attended_BND = self.attention(self.norm1(x_BND), relations_HBNN)
        return self._mlp(x_BND + attended_BND, reused_BNC)

    def forward_emitting(
        self, x_BND: Tensor, reused_BNC: Tensor | None, relations_HBNN: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, N, D] after the block and its logits [H, B, N, N]; see `forward`."""
        normed_BND = self.norm1(x_BND)
        attended_BND, logits = self.attention.forward_emitting(normed_BND, relations_HBNN)
        return self._mlp(x_BND + attended_BND, reused_BNC), logits

    def forward_class_token(self, x_BND: Tensor, relations_HBNN: Tensor | None) -> Tensor:
        """The class token [B, 1, D] after the block, where no other token is read."""
        attended_B1D = self.attention.forward_class_token(self.norm1(x_BND), relations_HBNN)
        # The class token reuses no features.
        zeros_B1C = x_BND.new_zeros(len(x_BND), 1, self.fc1.in_features - x_BND.shape[-1])
        return self._mlp(x_BND[:, :1] + attended_B1D, zeros_B1C)

    def _mlp(self, x_BND: Tensor, reused_BNC: Tensor | None) -> Tensor:
        widened = x_BND if reused_BNC is None else torch.cat([x_BND, reused_BNC], dim=-1)
        return x_BND + self.fc2(F.gelu(self.fc1(self.norm2(widened))))  # type: ignore[no-any-return]
