"""How many arenas the C library makes for threads, asked of itself in a process of its own."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys

import pytest

from app.operation.allocator import ARENAS

PROGRAM = """
import ctypes, sys, threading
from app.operation.allocator import share_arenas
if {share}:
    print(share_arenas())
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(16)
def take():
    together.wait()
    libc.malloc(100_000)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library than glibc")


def arenas(*, share: bool, **environment: str) -> tuple[int, str]:
    """How many arenas 16 threads have, and what was printed before."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(share=share)],
        env={**others, "PYTHONUNBUFFERED": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said, _, report = done.stdout.partition("<malloc")
    return len(re.findall("<heap nr=", report)), said.strip()


def test_threads_share_arenas() -> None:
    assert arenas(share=True) == (ARENAS, "True")
    assert arenas(share=False)[0] > ARENAS


@pytest.mark.parametrize("asked", [{"MALLOC_ARENA_MAX": "3"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=3"}])
def test_what_the_environment_says_counts_more(asked: dict[str, str]) -> None:
    assert arenas(share=True, **asked) == (3, "False")
