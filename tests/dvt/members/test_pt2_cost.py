"""MACs of single ATen calls, by hand."""

from typing import Any

import pytest
import torch

from dvt.members.pt2_cost import call_macs


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(1).expand(shape)


CASES: list[tuple[str, list[Any], tuple[int, ...], int]] = [
    ("linear", [zeros(2, 7, 16), zeros(5, 16)], (2, 7, 5), 2 * 7 * 5 * 16),
    ("addmm", [zeros(5), zeros(2, 16), zeros(16, 5)], (2, 5), 2 * 5 * 16),
    ("matmul", [zeros(2, 3, 4, 8), zeros(8, 6)], (2, 3, 4, 6), 2 * 3 * 4 * 6 * 8),
    # Depthwise: one input channel each.
    ("conv2d", [zeros(2, 8, 6, 6), zeros(8, 1, 3, 3)], (2, 8, 6, 6), 2 * 8 * 36 * 9),
    ("conv_transpose2d", [zeros(2, 8, 6, 6), zeros(8, 4, 2, 2)], (2, 4, 12, 12), 2 * 8 * 36 * 16),
    (
        "scaled_dot_product_attention",
        [zeros(2, 3, 10, 8), zeros(2, 3, 12, 8), zeros(2, 3, 12, 4)],
        (2, 3, 10, 4),
        2 * 3 * 10 * 12 * (8 + 4),
    ),
    ("relu", [zeros(2, 8)], (2, 8), 0),
]


@pytest.mark.parametrize(("operator", "args", "shape", "macs"), CASES)
def test_products_and_convolutions_count(
    operator: str, args: list[Any], shape: tuple[int, ...], macs: int
) -> None:
    assert call_macs(operator, args, zeros(*shape)) == macs
