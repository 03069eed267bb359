"""Cost of a cascade in MACs (multiply-adds; the paper prints them as FLOPs).

Derived from the configuration alone. As in the paper, only matrix products and convolutions count;
softmax, LayerNorm, GELU and the resizing of maps do not. The resizing is listed separately because
this implementation runs it as matrix products. `StageCost.executed` is what a profiler measures.
"""

from dataclasses import dataclass

from dvt.config import T2T_LATER_SPLIT, CascadeConfig

__all__ = ["StageCost", "stage_cost"]


@dataclass(frozen=True, slots=True)
class StageCost:
    """MACs of one stage for one image, by part.

    Attributes:
        tokenizer: convolutions, or soft splits with their performers and the projection.
        blocks: attention and MLP, the reused channels' share of the MLP included.
        feature_reuse: the networks over upstream features.
        relation_reuse: the MLP over upstream logits.
        head: the classifier.
        resizing: both resizes as matrix products; not in `total`.
        unread: in `total`, but skipped by this implementation: all but the class token in the last
            block of a stage that emits no state.
    """

    tokenizer: int
    blocks: int
    feature_reuse: int
    relation_reuse: int
    head: int
    resizing: int
    unread: int

    @property
    def total(self) -> int:
        """MACs of the stage as the paper counts them, without the resizing."""
        return self.tokenizer + self.blocks + self.feature_reuse + self.relation_reuse + self.head

    @property
    def useful(self) -> int:
        """MACs executed without the resizing, which mostly multiplies by zeros."""
        return self.total - self.unread

    @property
    def executed(self) -> int:
        """MACs that this implementation executes."""
        return self.total - self.unread + self.resizing


def stage_cost(config: CascadeConfig, stage: int) -> StageCost:
    """MACs of one stage (from 0) for one image."""
    tokens, width = config.num_tokens(stage), config.width
    reused = config.feature_reuse_width if config.reuses_features(stage) else 0
    mlp = config.mlp_hidden * (2 * width + reused)
    block = tokens * (4 * width * width + 2 * tokens * width + mlp)
    unread = feature_reuse = relation_reuse = resizing = 0
    emits = config.feature_reuse or config.relation_reuse
    if stage == config.num_stages - 1 or not emits:
        # Keys and values of all tokens; the query, its attention and MLP of one.
        class_token = 2 * width * width * (tokens + 1) + 2 * tokens * width + mlp
        unread = block - class_token
    if stage > 0:
        upstream = config.num_tokens(stage - 1)
        if config.reuses_features(stage):
            hidden = config.feature_reuse_hidden
            network = (upstream - 1) * hidden * (width + reused)
            feature_reuse = config.depth * network
            num_read = config.depth - (unread > 0)
            unread += (config.depth - num_read) * network
            # The class token's row is all zeros.
            resizing += num_read * tokens * (upstream - 1) * reused
        if config.reuses_relations(stage):
            channels = config.depth * config.num_heads
            relation_reuse = 2 * upstream**2 * channels**2 * config.relation_reuse_ratio
            resizing += channels * tokens * upstream * (upstream + tokens)
    return StageCost(
        tokenizer=_tokenizer_cost(config, stage),
        blocks=config.depth * block,
        feature_reuse=feature_reuse,
        relation_reuse=relation_reuse,
        head=width * config.num_classes,
        resizing=resizing,
        unread=unread,
    )


def _tokenizer_cost(config: CascadeConfig, stage: int) -> int:
    grid = config.grids[stage]
    sides = config.split_sides(stage)
    if config.tokenizer == "conv":
        cost, channels = 0, 3
        for side, conv in zip(sides, config.stems[stage], strict=False):
            cost += side**2 * channels * conv.kernel**2 * conv.channels
            channels = conv.channels
        return cost + sides[-1] ** 2 * channels * grid.kernel**2 * config.width
    if config.tokenizer == "patch":
        return sides[0] ** 2 * 3 * grid.kernel**2 * config.width
    width, features, later_area = (
        config.token_width,
        config.random_features,
        T2T_LATER_SPLIT[0] ** 2,
    )
    cost = 0
    for side, window in zip(sides, (3 * grid.kernel**2, width * later_area), strict=False):
        # key-query-value; features of key and query; context, its use, and the normaliser;
        # output projection and the MLP's two layers.
        per_token = window * 3 * width + 4 * features * width + features + 3 * width * width
        cost += side**2 * per_token
    return cost + sides[2] ** 2 * width * later_area * config.width
