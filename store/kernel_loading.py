"""Load the compiled kernel of sparse scoring on demand. store/kernel.py is imported here and nowhere else.

Importing numba and loading the machine code from disk takes about a second and 115 MB; compiling it, the first time
on a machine, some seconds more. A command that searches once is faster without it, and so is a small collection.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import ModuleType

LARGE = 20_000  # passages from which a search with numpy is noticeably slower


def expect_many_searches() -> None:
    """For long-lived processes: let the first search of a large collection load the kernel in the background."""
    _state.many_searches = True


def load_kernel() -> bool:
    """Load the kernel now, for collections of any size. Thread-safe.

    False where numba is not installed or does not support this version of Python or numpy: then numpy is used.
    """
    with _state.lock:
        if _state.kernel is None:
            try:
                from store import kernel
            except ImportError:  # numba also raises it for versions that it does not support
                return False
            _state.kernel = kernel
    return True


def kernel_for(passages: int) -> ModuleType | None:
    """store.kernel if it is loaded, else None; may start loading it in a thread for the searches to come."""
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
