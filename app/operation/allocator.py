"""Limits the memory arenas of the C library's allocator, so that a server's memory does not keep growing."""

from __future__ import annotations

import ctypes
import os
import sys

ARENAS = 1
_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h


def share_arenas() -> bool:
    """Make all threads allocate from one arena; returns whether this C library can. Call it before starting threads.

    glibc creates up to eight arenas per core, and free memory of one arena does not serve the threads of another. The
    values of a bounded cache lie in the arenas of the threads that computed them. As other threads replace them, the
    cache moves to other arenas, value by value, and leaves free memory behind that is not reused: the process grows
    though the memory in use does not. The threads of a server mostly hold Python's lock, so one arena hardly makes
    them wait for each other's allocations. MALLOC_ARENA_MAX and GLIBC_TUNABLES take precedence.
    """
    asked = "MALLOC_ARENA_MAX" in os.environ or "glibc.malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", "")
    if asked or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, or one that does nothing
    return mallopt is not None and bool(mallopt(_ARENA_MAX, ARENAS))
