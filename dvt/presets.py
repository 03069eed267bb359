"""The cascades of the paper, as plain functions that return whole configurations.

Widths, depths and ratios: DVT (arXiv 2105.15075), table of appendix A, and the published code.
"""

from collections.abc import Callable, Sequence

from dvt.config import CascadeConfig, Preprocess, patch_grid, t2t_grid
from dvt.errors import ConfigError

__all__ = ["PRESETS", "preset"]

PAPER_GRIDS = (7, 10, 14)


def dvt_deit_small(grids: Sequence[int] = PAPER_GRIDS, image_size: int = 224) -> CascadeConfig:
    """DVT on DeiT-small: 1.14 / 3.64 / 8.80 GMACs, 70.4 M parameters."""
    return CascadeConfig(
        name="dvt_deit_small",
        tokenizer="patch",
        image_size=image_size,
        grids=tuple(patch_grid(image_size, size) for size in grids),
        width=384,
        depth=12,
        num_heads=6,
        mlp_ratio=4.0,
    )


def _t2t(name: str, width: int, depth: int, num_heads: int, mlp_ratio: float) -> CascadeConfig:
    return CascadeConfig(
        name=name,
        tokenizer="t2t",
        grids=tuple(t2t_grid(224, size) for size in PAPER_GRIDS),
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        qkv_bias=False,
        layer_norm_eps=1e-5,
        position_embedding="sinusoid",
    )


def dvt_t2t_vit_12() -> CascadeConfig:
    """DVT on T2T-ViT-12: 0.47 / 1.46 / 3.50 GMACs, 22.5 M parameters."""
    return _t2t("dvt_t2t_vit_12", width=256, depth=12, num_heads=4, mlp_ratio=2.0)


def dvt_t2t_vit_14() -> CascadeConfig:
    """DVT on T2T-ViT-14: 1.20 / 3.82 / 9.26 GMACs, 67.9 M parameters."""
    return _t2t("dvt_t2t_vit_14", width=384, depth=14, num_heads=6, mlp_ratio=3.0)


def dvt_tiny_48() -> CascadeConfig:
    """A small cascade for 48-pixel inputs, light enough to train on two CPU cores in minutes."""
    return CascadeConfig(
        name="dvt_tiny_48",
        tokenizer="patch",
        image_size=48,
        grids=tuple(patch_grid(48, size) for size in (2, 4, 6)),
        width=96,
        depth=3,
        num_heads=3,
        mlp_ratio=2.0,
        preprocess=Preprocess(resize=48),
    )


PRESETS: dict[str, Callable[[], CascadeConfig]] = {
    function.__name__: function
    for function in (dvt_deit_small, dvt_t2t_vit_12, dvt_t2t_vit_14, dvt_tiny_48)
}


def preset(name: str) -> CascadeConfig:
    """The configuration of that name.

    Raises:
        ConfigError: no preset has that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"model: no preset {name!r}; known: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]()
