"""Presets: the paper's cascades, their static relatives, and two small cascades.

A static model is a cascade of one stage, with one exit and nothing to reuse. Sources of widths,
depths and ratios: DVT (arXiv 2105.15075), appendix A; T2T-ViT (arXiv 2101.11986), table 2; DeiT
(arXiv 2012.12877), table 1; ViT (arXiv 2010.11929), table 1. Preprocessing follows their code.
"""

from collections.abc import Callable, Sequence

from dvt.config import CascadeConfig, Preprocess, StemConv, TokenGrid
from dvt.errors import ConfigError
from dvt.token_grids import patch_grid, t2t_grid

__all__ = ["PAPER_GRIDS", "PRESETS", "VIT_PREPROCESS", "preset", "static_relative"]

PAPER_GRIDS = (7, 10, 14)

# T2T-ViT and timm crop 0.9 of the short side: 224 of int(224 / 0.9) pixels. DeiT and DVT crop
# 0.875 of it, the default of `Preprocess`.
T2T_PREPROCESS = Preprocess(resize=248)
# timm's "augreg" ViTs were trained on pixels from -1 to 1.
VIT_PREPROCESS = Preprocess(resize=248, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _patch(
    name: str,
    width: int,
    num_heads: int,
    grids: Sequence[int],
    preprocess: Preprocess | None = None,
) -> CascadeConfig:
    """Twelve blocks on adjacent patches: ViT, DeiT, and cascades of them."""
    return CascadeConfig(
        name=name,
        tokenizer="patch",
        grids=tuple(patch_grid(224, size) for size in grids),
        width=width,
        depth=12,
        num_heads=num_heads,
        mlp_ratio=4.0,
        feature_reuse=len(grids) > 1,
        relation_reuse=len(grids) > 1,
        preprocess=preprocess or Preprocess(),
    )


def _t2t(
    name: str,
    width: int,
    depth: int,
    num_heads: int,
    mlp_ratio: float,
    grids: Sequence[int] = (14,),
) -> CascadeConfig:
    """T2T-ViT with token performers, and cascades of it."""
    return CascadeConfig(
        name=name,
        tokenizer="t2t",
        grids=tuple(t2t_grid(224, size) for size in grids),
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        qkv_bias=False,
        layer_norm_eps=1e-5,
        position_embedding="sinusoid",
        feature_reuse=len(grids) > 1,
        relation_reuse=len(grids) > 1,
        preprocess=Preprocess() if len(grids) > 1 else T2T_PREPROCESS,
    )


def dvt_deit_small() -> CascadeConfig:
    """DVT on DeiT-small: 1.14 / 3.64 / 8.80 GMACs, 70.4 M parameters."""
    return _patch("dvt_deit_small", 384, 6, PAPER_GRIDS)


def dvt_deit_small_2() -> CascadeConfig:
    """DVT on DeiT-small with two stages, as in the MindSpore release: 1.14 / 6.03 GMACs."""
    return _patch("dvt_deit_small_2", 384, 6, (7, 14))


def dvt_vit_base() -> CascadeConfig:
    """DVT on ViT-B with two stages, ViT-B/32 then ViT-B/16: 4.41 / 22.69 GMACs.

    Not in the paper: ViT's blocks with the reuse of `dvt_deit_small_2`.
    """
    return _patch("dvt_vit_base", 768, 12, (7, 14))


def dvt_t2t_vit_12() -> CascadeConfig:
    """DVT on T2T-ViT-12: 0.47 / 1.46 / 3.50 GMACs, 22.5 M parameters."""
    return _t2t("dvt_t2t_vit_12", 256, 12, 4, 2.0, PAPER_GRIDS)


def dvt_t2t_vit_14() -> CascadeConfig:
    """DVT on T2T-ViT-14: 1.20 / 3.82 / 9.26 GMACs, 67.9 M parameters."""
    return _t2t("dvt_t2t_vit_14", 384, 14, 6, 3.0, PAPER_GRIDS)


def t2t_vit_7() -> CascadeConfig:
    """T2T-ViT-7: 1.1 GMACs, 4.3 M parameters."""
    return _t2t("t2t_vit_7", 256, 7, 4, 2.0)


def t2t_vit_10() -> CascadeConfig:
    """T2T-ViT-10: 1.5 GMACs, 5.9 M parameters."""
    return _t2t("t2t_vit_10", 256, 10, 4, 2.0)


def t2t_vit_12() -> CascadeConfig:
    """T2T-ViT-12: 1.8 GMACs, 6.9 M parameters."""
    return _t2t("t2t_vit_12", 256, 12, 4, 2.0)


def t2t_vit_14() -> CascadeConfig:
    """T2T-ViT-14: 4.8 GMACs, 21.5 M parameters."""
    return _t2t("t2t_vit_14", 384, 14, 6, 3.0)


def t2t_vit_19() -> CascadeConfig:
    """T2T-ViT-19: 8.5 GMACs, 39.2 M parameters."""
    return _t2t("t2t_vit_19", 448, 19, 7, 3.0)


def t2t_vit_24() -> CascadeConfig:
    """T2T-ViT-24: 13.7 GMACs, 64.1 M parameters."""
    return _t2t("t2t_vit_24", 512, 24, 8, 3.0)


def deit_tiny() -> CascadeConfig:
    """DeiT-tiny: 1.26 GMACs, 5.7 M parameters."""
    return _patch("deit_tiny", 192, 3, (14,))


def deit_small() -> CascadeConfig:
    """DeiT-small: 4.61 GMACs, 22.1 M parameters."""
    return _patch("deit_small", 384, 6, (14,))


def deit_base() -> CascadeConfig:
    """DeiT-base: 17.58 GMACs, 86.6 M parameters; ViT-B/16 with other preprocessing."""
    return _patch("deit_base", 768, 12, (14,))


def vit_base_16() -> CascadeConfig:
    """ViT-B/16 as in timm: 17.58 GMACs, 86.6 M parameters."""
    return _patch("vit_base_16", 768, 12, (14,), preprocess=VIT_PREPROCESS)


def vit_base_32() -> CascadeConfig:
    """ViT-B/32 as in timm: 4.41 GMACs, 88.2 M parameters."""
    return _patch("vit_base_32", 768, 12, (7,), preprocess=VIT_PREPROCESS)


def dvt_tiny_48() -> CascadeConfig:
    """A small cascade for 48-pixel inputs that trains on two CPU cores in minutes."""
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


def dvt_conv_32() -> CascadeConfig:
    """A cascade with convolutional stems for 32-pixel inputs: 7 / 37 / 115 MMACs, 1.7 M parameters.

    On data sets of this size, stems learn in a tenth of the epochs that adjacent patches need. The
    coarse stages stay cheap by halving the side first, with overlapping windows; the finest stage
    starts at full resolution.
    """
    return CascadeConfig(
        name="dvt_conv_32",
        tokenizer="conv",
        image_size=32,
        stems=(
            (
                StemConv(channels=32, kernel=4, stride=2),
                StemConv(channels=64, stride=2),
                StemConv(channels=64, residual=True),
            ),
            (
                StemConv(channels=48, kernel=4, stride=2),
                StemConv(channels=48, residual=True),
                StemConv(channels=96, stride=2),
                StemConv(channels=96, residual=True),
                StemConv(channels=96, residual=True),
            ),
            (
                StemConv(channels=32),
                StemConv(channels=64, stride=2),
                StemConv(channels=64, residual=True),
                StemConv(channels=64, residual=True),
                StemConv(channels=128, stride=2),
                StemConv(channels=128, residual=True),
                StemConv(channels=128, residual=True),
                StemConv(channels=128, residual=True),
            ),
        ),
        grids=(
            TokenGrid(size=4, kernel=3, stride=2, padding=1),
            TokenGrid(size=6, kernel=3, stride=1, padding=0),
            TokenGrid(size=8, kernel=3, stride=1, padding=1),
        ),
        width=96,
        depth=2,
        num_heads=3,
        mlp_ratio=2.0,
        num_classes=10,
        feature_reuse_hidden=64,
        # Pixel mean and deviation of CIFAR-10's training images.
        preprocess=Preprocess(
            resize=32, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
        ),
    )


PRESETS: dict[str, Callable[[], CascadeConfig]] = {
    function.__name__: function
    for function in (
        dvt_deit_small,
        dvt_deit_small_2,
        dvt_vit_base,
        dvt_t2t_vit_12,
        dvt_t2t_vit_14,
        dvt_tiny_48,
        dvt_conv_32,
        t2t_vit_7,
        t2t_vit_10,
        t2t_vit_12,
        t2t_vit_14,
        t2t_vit_19,
        t2t_vit_24,
        deit_tiny,
        deit_small,
        deit_base,
        vit_base_16,
        vit_base_32,
    )
}


def preset(name: str) -> CascadeConfig:
    """The configuration of a preset.

    Raises:
        ConfigError: unknown name.
    """
    if name not in PRESETS:
        raise ConfigError(f"model: no preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]()


def static_relative(config: CascadeConfig, stage: int) -> CascadeConfig:
    """The static model equal to one stage (from 1) of a cascade without reuse.

    Raises:
        ConfigError: the cascade has no such stage.
    """
    if not 1 <= stage <= config.num_stages:
        raise ConfigError(
            f"static: must be a stage from 1 to {config.num_stages} of {config.name} (got {stage})"
        )
    return config.with_changes(
        name=f"{config.name}_static_{stage}",
        grids=config.grids[stage - 1 : stage],
        stems=config.stems[stage - 1 : stage],
        feature_reuse=False,
        relation_reuse=False,
    )
