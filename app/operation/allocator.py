"""How the C library keeps memory that was given back to it."""

from __future__ import annotations

import ctypes
import os
import sys

ARENAS = 1
_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h


def share_arenas() -> bool:
    """Let all threads have their memory from one arena, whether this C library can. Call it before there are threads.

    glibc gives up to eight arenas for each core to threads, and what one arena has free serves no thread of another.
    What a cache of bounded size keeps was allocated by whichever threads were busy then; when others replace it, it
    moves to their arena, value by value, and leaves room behind that nobody uses: memory grows though what is in use
    does not. Most of what the threads of a server do holds Python's lock, so they do not wait for one another's
    allocations. MALLOC_ARENA_MAX and GLIBC_TUNABLES count more.
    """
    asked = "MALLOC_ARENA_MAX" in os.environ or "glibc.malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", "")
    if asked or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, or one that does nothing
    return mallopt is not None and bool(mallopt(_ARENA_MAX, ARENAS))
