"""Stored embeddings: projected, of length 1, the same on every machine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import dvt
from dvt.embedding import MAX_EMBEDDING_WIDTH, Embedder, Projection, fit_projection
from dvt.errors import CheckpointError

CPU = torch.device("cpu")


def test_vectors_have_length_one_in_half_precision() -> None:
    vectors = 100 * torch.randn(50, 96)
    stored = Embedder(Projection.default(96), CPU)(vectors)
    assert stored.dtype == torch.float16
    assert stored.shape == (50, 96)
    torch.testing.assert_close(stored.float().norm(dim=1), torch.ones(50), atol=2e-3, rtol=0)


def test_wide_vectors_keep_their_angles() -> None:
    vectors = torch.randn(200, 1280)
    stored = Embedder(Projection.default(1280), CPU)(vectors).float()
    assert stored.shape == (200, MAX_EMBEDDING_WIDTH)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    error = (stored @ stored.T - unit @ unit.T)[~torch.eye(200, dtype=torch.bool)]
    assert float(error.std()) < 0.08  # 1 / sqrt(256) = 0.0625
    assert torch.equal(
        Projection.default(1280).matrix[:2, :2], Projection.default(1280).matrix[:2, :2]
    )


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_vector_without_a_direction_is_zero(value: float) -> None:
    vectors = torch.ones(3, 16)
    vectors[1] = value
    stored = Embedder(Projection.default(16), CPU)(vectors)
    assert not stored[1].any()
    assert stored[0].any()
    assert stored.isfinite().all()


def test_principal_components_keep_what_varies(tmp_path: Path) -> None:
    """300 channels that vary in 8 directions only, around a common mean."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(300, 8, generator=generator)).Q
    points = torch.randn(1000, 8, generator=generator)
    vectors = points @ basis.T + 5
    fitted = fit_projection(vectors, 8)
    fitted.save(tmp_path / "p.safetensors")
    loaded = Projection.load(tmp_path / "p.safetensors", 300)
    stored = Embedder(loaded, CPU)(vectors).float()
    unit = points - points.mean(dim=0)
    unit = unit / unit.norm(dim=1, keepdim=True)
    assert float((stored @ stored.T - unit @ unit.T).abs().max()) < 0.02


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"mean": torch.zeros(9)}, r"must hold mean \[8\] and matrix"),
        ({"mean": torch.zeros(9), "matrix": torch.zeros(9, 4)}, r"must hold mean \[8\]"),
        ({"mean": torch.zeros(8), "matrix": torch.zeros(8, 300)}, r"got \[8, 300\]"),
        (None, "truncated or damaged"),
    ],
)
def test_a_faulty_file_is_one_line(
    tensors: dict[str, torch.Tensor] | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.safetensors"
    if tensors is None:
        path.write_bytes(b"no tensors")
    else:
        save_file(tensors, path)
    with pytest.raises(CheckpointError, match=message):
        Projection.load(path, 8)


def test_an_embedding_does_not_depend_on_its_batch(
    tiny_cascade: Callable[..., dvt.Cascade],
) -> None:
    model = tiny_cascade()
    executor = model.make_executor()
    executor.embedder = Embedder(Projection.default(model.spec.stages[0].embedding_width), CPU)
    size = model.spec.image_size
    values = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    pixels = torch.from_numpy(values)
    whole = executor.run(0, pixels, None, 8).embedding
    alone = executor.run(0, pixels[3:4], None, 8).embedding
    assert whole is not None
    assert alone is not None
    assert torch.equal(whole[3:4], alone)
