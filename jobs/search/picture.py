"""The vector of an example picture."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError

__all__ = ["embed_picture"]


def embed_picture(model: str, file: Path) -> NDArray[np.float32]:
    """Embeds a picture that is not in the index, as `dvt tag --embeddings` does.

    Args:
        model: digest of the index's model.
        file: the picture.

    Returns:
        A vector of length 1, [D].

    Raises:
        UsageError: the model is not here, or the file is no readable image.
    """
    raise UsageError(
        f"image: {file} is not in the index, and this version cannot embed pictures with the "
        f"model {model}; pass an image of the archive, or --like KEY"
    )
