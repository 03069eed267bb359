"""Keeps freed memory in the process, so that the next batch does not fault it in again.

glibc gives every freed block of more than 32 MiB (at first 128 KiB) back to the kernel, and the
kernel clears its pages when the next batch asks for the same sizes again. A forward pass on the
processor spends up to half of its element-wise time on that.
"""

import ctypes
import sys

__all__ = ["keep_freed_memory", "return_freed_memory"]

# From <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets the process keep what it frees; its size then stays at its peak.

    Returns:
        Whether the C library knows this; only glibc does.
    """
    return _mallopt(_M_MMAP_MAX, 0) and _mallopt(_M_TRIM_THRESHOLD, _NEVER)


def return_freed_memory() -> bool:
    """The C library's defaults again; for comparisons."""
    settings = (
        (_M_MMAP_MAX, 65536),
        (_M_MMAP_THRESHOLD, 128 << 10),
        (_M_TRIM_THRESHOLD, 128 << 10),
    )
    return all(_mallopt(parameter, value) for parameter, value in settings)


def _mallopt(parameter: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and mallopt(parameter, value) == 1
