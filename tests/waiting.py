"""Waiting for what other threads and processes do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Returns when it holds; fails where it does not in so many seconds, which a loaded machine may take."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.001)


def stop(child: subprocess.Popen[Any]) -> None:
    """Returns when it stands still: the signal alone leaves its threads some time to answer."""
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
