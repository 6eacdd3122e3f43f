"""What the C library keeps for threads, asked of itself in a process of its own."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys

import pytest

from app.operation.allocator import ARENAS

BEGIN = """
import ctypes, sys, threading
from app.operation.allocator import share_arenas
if {share}:
    print(share_arenas())
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def together(*do):
    threads = [threading.Thread(target=each) for each in do]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""
MANY_THREADS = """
all_there = threading.Barrier(16)
def take():
    all_there.wait()
    libc.malloc(100_000)
    all_there.wait()
together(*[take] * 16)
"""
CACHE = """
kept, filled, replaced = [], threading.Event(), threading.Event()
def fill():
    kept.extend(libc.malloc(80_000) for _ in range({values}))
    filled.set()
    replaced.wait()  # a thread that ends leaves its arena to the next one
def replace():
    filled.wait()
    for _ in range({values} // 2):
        kept.append(libc.malloc(80_000))
        libc.free(kept.pop(0))
    replaced.set()
together(fill, replace)
"""
END = """
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""
VALUES = 400  # of 80,000 bytes

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library than glibc")


def asked(work: str, *, share: bool, **environment: str) -> tuple[str, str]:
    """What was printed before, and malloc_info's report of a process that did this work."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", (BEGIN + work + END).format(share=share, values=VALUES)],
        env={**others, "PYTHONUNBUFFERED": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said, _, report = done.stdout.partition("<malloc")
    return said.strip(), report


def arenas(*, share: bool, **environment: str) -> tuple[int, str]:
    """How many arenas 16 threads have, and what was printed before."""
    said, report = asked(MANY_THREADS, share=share, **environment)
    return len(re.findall("<heap nr=", report)), said


def taken(*, share: bool) -> float:
    """By how much a cache of bounded size, half of which another thread replaced, takes more than it keeps."""
    _, report = asked(CACHE, share=share)
    total = report.rpartition("</heap>")[2]  # of all arenas
    size = re.search('<system type="current" size="(\\d+)"', total)
    assert size is not None
    return int(size[1]) / (80_000 * VALUES)


def test_threads_share_arenas() -> None:
    assert arenas(share=True) == (ARENAS, "True")
    assert arenas(share=False)[0] > ARENAS


def test_what_another_thread_replaces_leaves_no_room_behind() -> None:
    assert taken(share=True) < 1.25
    assert taken(share=False) > 1.4


@pytest.mark.parametrize("said", [{"MALLOC_ARENA_MAX": "3"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=3"}])
def test_what_the_environment_says_counts_more(said: dict[str, str]) -> None:
    assert arenas(share=True, **said) == (3, "False")
