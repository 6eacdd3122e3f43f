"""When the sparse legs have machine code, and when numpy does: store/kernel.py is loaded here, and nowhere else.

Importing numba and reading the machine code from the disk takes about a second and 115 MB; compiling it, the first time
on a machine, some seconds more. A command that searches once is faster without, and so is a small collection.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import ModuleType

LARGE = 20_000  # passages from which a search with numpy takes noticeably longer


def expect_many_searches() -> None:
    """For a process that stays: the first search of a large collection has the kernel loaded, and does not wait."""
    _state.many_searches = True


def load_kernel() -> bool:
    """Load the kernel now, for whatever is searched. Thread-safe.

    False where numba is not installed, or knows this version of Python or numpy not yet: numpy goes on then.
    """
    with _state.lock:
        if _state.kernel is None:
            try:
                from store import kernel
            except ImportError:  # numba raises it for versions that it does not know, too
                return False
            _state.kernel = kernel
    return True


def kernel_for(passages: int) -> ModuleType | None:
    """store.kernel, if it is loaded."""
    if _state.kernel is None and _state.many_searches and passages >= LARGE:
        _state.many_searches = False  # once
        threading.Thread(target=load_kernel, name="load-kernel").start()
    return _state.kernel


@dataclass(slots=True)
class _State:
    kernel: ModuleType | None = None
    many_searches: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


_state = _State()
