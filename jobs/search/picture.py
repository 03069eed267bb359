"""The vector of a picture that is not in the index, computed as `dvt tag --embeddings` does."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import dvt
from pipeline.decoding import IsolatedDecoder
from pipeline.errors import ImageError, OutputFailedError, UsageError
from pipeline.output.metadata import RunFile, read_run_file
from pipeline.runtime.resource_plan import decode_settings
from pipeline.storage import open_output_store, read_file

__all__ = ["embed_picture"]


def embed_picture(out: str, digest: str | None, file: Path) -> NDArray[np.float32]:
    """Embeds a picture with the model of an output.

    Args:
        out: the output that the index was made from.
        digest: of the model whose vectors the index holds.
        file: the picture.

    Returns:
        A vector of length 1, [D].

    Raises:
        UsageError: the output or its model is not here, or the file is no readable image.
    """
    run = _run(out, file)
    model = dvt.load_model(run.settings.model)
    if model.embedding_digest() != digest:
        raise UsageError(
            f"image: the index holds vectors of the model {digest}, but {run.settings.model} is "
            f"another one now ({model.embedding_digest()}); use --like KEY"
        )
    decoder = IsolatedDecoder(decode_settings(model.spec, run.settings))
    try:
        content = read_file(file.absolute().as_uri(), run.settings.max_bytes)
        pixels, (outcome,) = decoder.decode_all([content], 1)
        if isinstance(outcome, ImageError):
            raise outcome
        executor = model.make_executor(dtype=getattr(torch, run.dtype))
        executor.embedder = model.make_embedder(executor.device)
        output = executor.run(0, executor.upload(pixels)(), None, batch_size=1)
    except ImageError as error:
        raise UsageError(f"image: {file}: {error.detail}") from error
    finally:
        decoder.close()
    assert output.embedding is not None, "a model with an embedder has embeddings"
    vector: NDArray[np.float32] = output.embedding[0].float().cpu().numpy()
    if not vector.any():
        raise UsageError(f"image: {file} has no embedding: the model sees nothing in it")
    return vector / np.float32(np.linalg.norm(vector))


def _run(out: str, file: Path) -> RunFile:
    try:
        return read_run_file(open_output_store(out))
    except (UsageError, OutputFailedError) as error:
        raise UsageError(
            f"image: {file} is not in the index, and the output that names the model cannot be "
            f"read ({error}); use --like KEY"
        ) from error
