"""ONNX graphs: the same logits as torch, and the same bits at any place of a batch."""

import numpy as np
import pytest
import torch

from dvt.members.efficientnet_lite import load_efficientnet_lite, normalise_pixels
from dvt.members.onnx_graph import onnx_graph
from dvt.members.onnx_session import open_session
from tests.dvt.members.lite_pixels import LITE0, LITE2, random_pixels


@pytest.mark.parametrize(("name", "side"), [(LITE0, 160), (LITE0, 75), (LITE2, 224)])
def test_the_graph_computes_what_the_network_does(name: str, side: int) -> None:
    network, pixels = load_efficientnet_lite(name), random_pixels(3, side)
    session = open_session(onnx_graph(network, side), num_threads=1)
    logits, embedding = session.run(None, {"pixels": pixels.numpy()})
    with torch.inference_mode():
        expected = network(normalise_pixels(pixels))
    np.testing.assert_allclose(logits, expected.logits.numpy(), rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(embedding, expected.embedding.numpy(), rtol=1e-4, atol=2e-4)


def test_an_image_has_the_same_logits_at_any_place_of_a_batch_and_with_any_threads() -> None:
    graph = onnx_graph(load_efficientnet_lite(LITE0), 96)
    pixels = random_pixels(16, 96).numpy()
    sessions = [open_session(graph, num_threads) for num_threads in (1, 2)]
    (expected,) = sessions[0].run(["logits"], {"pixels": pixels})
    for session in sessions:
        for shift in range(0, 16, 3):
            (logits,) = session.run(["logits"], {"pixels": np.roll(pixels, shift, axis=0)})
            assert np.array_equal(np.roll(expected, shift, axis=0), logits)
