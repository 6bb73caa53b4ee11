"""Memory: when it ran out, and keeping what is freed. Imports nothing heavy."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from functools import cache

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2  # of glibc's malloc.h


@cache
def disable_malloc_trim() -> None:
    """Have malloc keep the memory that this process frees, to use it again.

    Large images are otherwise given back to the system after each layer, and getting them anew, page by page
    and zeroed, takes as long as rendering does. The process stays as large as it once was; nothing else
    changes. Only where the C library is glibc. Commands do so, unless the environment variable
    STYLECLIP_KEEP_FREED is 0; a program that embeds an `Engine` calls this itself, if it wants to.
    """
    if not sys.platform.startswith("linux") or os.environ.get("STYLECLIP_KEEP_FREED") == "0":
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
        mallopt(_TOP_PAD, 64 << 20)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the host or on the device (torch has a class only for the second)."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
