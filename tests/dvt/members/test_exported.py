"""`torch.export` programs as models: outputs, embeddings, cost, batches."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dvt
from tests.dvt.members.tiny_networks import (
    CLASSES,
    MACS,
    SIZE,
    WIDTH,
    TinyNet,
    export,
    normalised,
    pixels,
    write_config,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Transformer(nn.Module):
    """Attention by both of torch's ways, constants, and sizes that depend on the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.register_buffer("scale", torch.tensor([2.0]), persistent=False)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, CLASSES)
        self.eval()

    def features(self, images: Tensor) -> Tensor:
        num_images = images.shape[0]
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(num_images, -1, -1), x], 1)
        x = x * self.get_buffer("scale")
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        query, key, value = (
            x.view(num_images, -1, 4, 4).transpose(1, 2).repeat(1, 1, 1, 3).chunk(3, -1)
        )
        x = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(x.shape)
        x = x + torch.arange(16, dtype=torch.float32) * torch.tensor([0.5, 0.25] * 8)
        pooled: Tensor = self.norm(F.gelu(x, approximate="tanh"))[:, 0]
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


# 4x4 patches and the class token: 17 tokens of 16 channels; two attentions.
TOKENS = 17
TRANSFORMER_MACS = 16 * 192 * 16 + TOKENS * 4 * 16 * 16 + 2 * 2 * TOKENS**2 * 16 + 16 * CLASSES


@pytest.mark.parametrize("batch_size", [None, 1, 3])
@pytest.mark.parametrize(
    ("make", "macs", "width"), [(TinyNet, MACS, WIDTH), (Transformer, TRANSFORMER_MACS, 16)]
)
@torch.no_grad()
def test_a_program_agrees_with_torch(
    make: Callable[[], TinyNet | Transformer],
    macs: int,
    width: int,
    batch_size: int | None,
    tmp_path: Path,
) -> None:
    network = make()
    path = export(network, tmp_path / "network.pt2", batch_size, labels=list("abcde"))
    model = dvt.load_model(tmp_path)
    images = normalised(5)
    output = model.make_executor().run(0, torch.from_numpy(pixels(5)), None, 8)
    assert torch.allclose(output.logits, network(images), atol=1e-5)
    assert output.embedding is not None
    assert torch.allclose(output.embedding, network.features(images), atol=1e-5)
    assert torch.equal(model.predict(images).labels, network(images).argmax(1))
    assert (model.spec.stages[0].macs, model.spec.stages[0].embedding_width) == (macs, width)
    assert model.label_names == tuple("abcde")
    assert dvt.load_model(path).digest() == model.digest()


def test_an_image_has_the_same_bits_wherever_it_is_in_a_batch(tmp_path: Path) -> None:
    export(Transformer(), tmp_path / "network.pt2")
    executor = dvt.load_model(tmp_path).make_executor()

    def logits(rows: slice) -> np.ndarray:
        images = torch.from_numpy(pixels(8)[rows].copy())
        return executor.run(0, images, None, 8).logits.numpy()

    assert np.array_equal(logits(slice(None, None, -1))[::-1], logits(slice(None)))
    assert np.array_equal(logits(slice(3, 4)), logits(slice(None))[3:4])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_program_computes_in_its_own_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    network = TinyNet().to(dtype)
    images = (torch.randn(2, 3, SIZE, SIZE, dtype=dtype),)
    program = torch.export.export(network, images, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    write_config(tmp_path)
    torch.export.save(program, tmp_path / "network.pt2")
    model = dvt.load_model(tmp_path)
    assert model.inference_dtype(torch.device("cpu")) == torch.float32
    executor = model.make_executor(dtype=torch.float32)
    assert executor.dtype == dtype
    logits = executor.run(0, torch.from_numpy(pixels(4)), None, 4).logits
    assert torch.equal(logits, network(normalised(4).to(dtype)))


class Probabilities(nn.Module):
    def __init__(self, by_hand: bool) -> None:
        super().__init__()
        self.network, self.by_hand = TinyNet(), by_hand
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        if self.by_hand:
            powers: Tensor = logits.exp()
            return powers / powers.sum(1, keepdim=True)
        softmax: Tensor = logits.softmax(1)
        return softmax


@pytest.mark.parametrize("by_hand", [False, True])
@torch.no_grad()
def test_probabilities_become_logits(by_hand: bool, tmp_path: Path) -> None:
    network = Probabilities(by_hand)
    export(network, tmp_path / "network.pt2")
    logits = dvt.load_model(tmp_path)(normalised(4))[0]
    assert torch.allclose(logits.softmax(1), network(normalised(4)), atol=1e-6)
