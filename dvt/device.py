"""The device and precision in which this machine computes fastest."""

import torch

__all__ = ["autocast_dtype", "best_device", "inference_dtype"]


def best_device() -> torch.device:
    """The CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def inference_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32.

    CPUs without AVX512-BF16 or AMX emulate bfloat16 many times slower than float32. A GPU of
    another machine cannot be inspected from here; GPUs in use have it.
    """
    if device.type == "cuda":
        has_gpu = torch.cuda.is_available()
        is_native = not has_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if is_native else torch.float32


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The type for `torch.autocast` in training; None where float32 is the fastest.

    float16, on GPUs without bfloat16, needs a scaled loss (`torch.amp.GradScaler`).
    """
    dtype = inference_dtype(device)
    if dtype == torch.float32:
        return torch.float16 if device.type == "cuda" else None
    return dtype
