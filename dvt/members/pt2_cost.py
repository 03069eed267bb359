"""MACs of one call of an ATen operator.

Only matrix products and convolutions count, as in `dvt.cost`; `pt2_operators` allows no other
products. torch's own counter would import its compiler, which takes seconds in every process.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor

__all__ = ["call_macs"]

# Position of the left factor; its last side is summed over.
_PRODUCTS = {"addmm": 1, "baddbmm": 1, "bmm": 0, "linear": 0, "matmul": 0, "mm": 0}
_CONVOLUTIONS = {"conv1d", "conv2d", "conv3d", "convolution"}
_TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
_IS_TRANSPOSED = 6  # among the arguments of `convolution`


def call_macs(operator: str, args: Sequence[Any], result: Any) -> int:
    """MACs of a call.

    Args:
        operator: of ATen, without overload.
        args: of the call, by position.
        result: the first one.
    """
    if not isinstance(result, Tensor):
        return 0
    if operator in _PRODUCTS:
        left: Tensor = args[_PRODUCTS[operator]]
        return result.numel() * left.shape[-1]
    if operator == "scaled_dot_product_attention":
        query: Tensor = args[0]
        key: Tensor = args[1]
        return (query.numel() + result.numel()) * key.shape[-2]
    if operator in _CONVOLUTIONS | _TRANSPOSED:
        images: Tensor = args[0]
        weight: Tensor = args[1]
        is_transposed = operator in _TRANSPOSED or (
            operator == "convolution" and bool(args[_IS_TRANSPOSED])
        )
        return (images if is_transposed else result).numel() * prod(weight.shape[1:])
    return 0
