"""Keeps freed memory in the process, so that the next batch does not fault it in again.

glibc returns every freed block of more than 32 MiB (initially 128 KiB) to the kernel, which clears
its pages when the next batch allocates the same sizes. On a CPU, a forward pass spends up to half
of its element-wise time on that.
"""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# From <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = -1


def keep_freed_memory() -> bool:
    """Makes the process keep the memory that it frees; its size then stays at its peak.

    Returns:
        Whether the C library supports it; only glibc does.
    """
    return _mallopt(_M_MMAP_MAX, 0) and _mallopt(_M_TRIM_THRESHOLD, _NEVER)


def _mallopt(parameter: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and mallopt(parameter, value) == 1
