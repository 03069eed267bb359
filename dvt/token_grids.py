"""Windows that split an image into a given number of tokens, for any image size."""

import math

from dvt.config import T2T_LATER_SPLIT, TokenGrid, num_windows
from dvt.errors import ConfigError

__all__ = ["patch_grid", "t2t_grid"]

# First soft split (kernel, stride, padding) of the published cascades, by image and grid size.
_PUBLISHED_SPLITS = {(224, 7): (14, 8, 3), (224, 10): (11, 6, 5), (224, 14): (7, 4, 2)}


def patch_grid(image_size: int, size: int) -> TokenGrid:
    """The convolution that splits an image into `size` x `size` adjacent patches, as in DeiT.

    32/32/0, 23/23/3 and 16/16/0 (kernel/stride/padding) at 224 px for 7, 10 and 14 tokens (DVT,
    appendix A).

    Raises:
        ConfigError: `size` exceeds `image_size`.
    """
    if not 1 <= size <= image_size:
        raise ConfigError(f"grid size: must be between 1 and image_size={image_size} (got {size})")
    stride = math.ceil(image_size / size)
    padding = math.ceil((stride * size - image_size) / 2)
    return TokenGrid(size=size, kernel=stride, stride=stride, padding=padding)


def t2t_grid(image_size: int, size: int) -> TokenGrid:
    """The first soft split of a T2T tokenizer that produces `size` x `size` tokens.

    Grids that were not published get a stride near image_size / (4 size) and the smallest padding
    that fits.

    Raises:
        ConfigError: no stride and padding produce that grid.
    """
    if (image_size, size) in _PUBLISHED_SPLITS:
        kernel, stride, padding = _PUBLISHED_SPLITS[image_size, size]
        return TokenGrid(size=size, kernel=kernel, stride=stride, padding=padding)
    ideal = image_size / (4 * size)
    for stride in sorted(range(1, math.ceil(ideal) + 2), key=lambda step: abs(step - ideal)):
        kernel = max(3, 2 * stride - 1)
        for padding in range(kernel // 2 + 1):
            side = num_windows(image_size, kernel, stride, padding)
            for _ in range(2):
                side = num_windows(side, *T2T_LATER_SPLIT)
            if side == size:
                return TokenGrid(size=size, kernel=kernel, stride=stride, padding=padding)
    raise ConfigError(f"grid size: no soft split turns {image_size} px into {size}x{size} tokens")
