"""What a cascade costs, in MACs (multiply-adds; the paper prints them as FLOPs).

Counted from the configuration alone. As in the paper, a MAC is one of a matrix product or
convolution; softmax, LayerNorm, GELU and the resizing of maps (interpolation) are not counted
in an exit's cost. The resizing is listed on its own, because this implementation runs it as
matrix products: with it the count equals what a profiler sees (a test holds it to that).
"""

from dataclasses import dataclass

from dvt.config import T2T_LATER_SPLIT, CascadeConfig

__all__ = ["StageCost", "gmacs_per_exit", "stage_cost"]


@dataclass(frozen=True, slots=True)
class StageCost:
    """MACs of one stage for one image, by part.

    Attributes:
        tokenizer: convolution, or soft splits with their performers and the projection.
        blocks: attention and MLP, the reused channels' share of the MLP included.
        feature_reuse: the small networks over upstream features.
        relation_reuse: the MLP over upstream logits.
        head: the classifier.
        resizing: both resizes as matrix products; outside `total`, see the module's text.
    """

    tokenizer: int
    blocks: int
    feature_reuse: int
    relation_reuse: int
    head: int
    resizing: int

    @property
    def total(self) -> int:
        """MACs of the stage as the paper counts them, without the resizing."""
        return self.tokenizer + self.blocks + self.feature_reuse + self.relation_reuse + self.head


def stage_cost(config: CascadeConfig, stage: int) -> StageCost:
    """MACs of one stage (from 0) for one image."""
    tokens, width = config.num_tokens(stage), config.width
    reused = config.feature_reuse_width if config.reuses_features(stage) else 0
    attention = tokens * 4 * width * width + 2 * tokens * tokens * width
    mlp = tokens * config.mlp_hidden * (2 * width + reused)
    feature_reuse = relation_reuse = resizing = 0
    if stage > 0:
        upstream = config.num_tokens(stage - 1)
        if config.reuses_features(stage):
            hidden = config.feature_reuse_hidden
            feature_reuse = config.depth * (upstream - 1) * hidden * (width + reused)
            resizing += config.depth * (tokens - 1) * (upstream - 1) * reused
        if config.reuses_relations(stage):
            channels = config.depth * config.num_heads
            relation_reuse = 2 * upstream**2 * channels**2 * config.relation_reuse_ratio
            resizing += channels * tokens * upstream * (upstream + tokens)
    return StageCost(
        tokenizer=_tokenizer_cost(config, stage),
        blocks=config.depth * (attention + mlp),
        feature_reuse=feature_reuse,
        relation_reuse=relation_reuse,
        head=width * config.num_classes,
        resizing=resizing,
    )


def _tokenizer_cost(config: CascadeConfig, stage: int) -> int:
    grid = config.grids[stage]
    sides = config.split_sides(stage)
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


def gmacs_per_exit(config: CascadeConfig) -> tuple[float, ...]:
    """Cumulative GMACs of one image that leaves at exit 1, 2, …"""
    costs, spent = [], 0
    for stage in range(config.num_stages):
        spent += stage_cost(config, stage).total
        costs.append(spent / 1e9)
    return tuple(costs)
