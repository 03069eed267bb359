"""Keeps freed memory in the process, so that the next batch does not fault it in again.

glibc gives every freed block of more than 32 MiB (at first 128 KiB) back to the kernel, and the
kernel clears its pages when the next batch asks for the same sizes again. A forward pass on the
processor spends up to half of its element-wise time on that.
"""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# From <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = -1


def keep_freed_memory() -> bool:
    """Lets the process keep what it frees; its size then stays at its peak.

    Returns:
        Whether the C library knows this; only glibc does.
    """
    return _mallopt(_M_MMAP_MAX, 0) and _mallopt(_M_TRIM_THRESHOLD, _NEVER)


def _mallopt(parameter: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and mallopt(parameter, value) == 1
