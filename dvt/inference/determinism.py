"""The same sums wherever an image lies in its batch.

MKL adds up a row's products in an order that depends on where the row lies and on how threads share
the matrix, so that an image's confidence would depend on its company by the last bit. Its strict
mode does not; on two AVX2 cores it cost nothing that could be measured. It is read once, before the
first product of a process.
"""

import os

import torch

__all__ = ["deterministic_matmul"]


def deterministic_matmul() -> None:
    """Asks MKL for strict reproducibility; to be called before anything is computed."""
    capability = torch.backends.cpu.get_cpu_capability()
    mode = "AVX512" if capability.startswith("AVX512") else "AVX2"
    if capability.startswith("AVX"):
        os.environ.setdefault("MKL_CBWR", f"{mode},STRICT")
