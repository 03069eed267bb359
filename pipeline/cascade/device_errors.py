"""What an error of torch means for the batch that was running."""

import torch

__all__ = ["is_device_failure", "is_out_of_memory"]


def is_out_of_memory(error: Exception) -> bool:
    """Whether a smaller batch would help; torch has no error type for host memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def is_device_failure(error: Exception) -> bool:
    """Whether the GPU, not an image, is the cause; torch before 2.8 has no error type for it."""
    accelerator_error = getattr(torch, "AcceleratorError", None)
    is_typed = accelerator_error is not None and isinstance(error, accelerator_error)
    return is_typed or "CUDA error" in str(error)
