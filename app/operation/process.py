"""What this process holds of the machine, as the kernel says it."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the metrics library's: where several processes keep their figures
_STATUS = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd")


def resident_bytes() -> int:
    """Memory that is in RAM; where the kernel does not tell, the most that it ever was."""
    try:
        return int(_STATUS.read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def open_files() -> int:
    """File descriptors; 0 where the system does not tell."""
    try:
        return len(os.listdir(_FILES))
    except OSError:
        return 0


def open_files_allowed() -> int:
    """How many file descriptors this process may have at most, if it asks."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY if hard == resource.RLIM_INFINITY else min(hard, _MANY)


def raise_open_files() -> int:
    """Ask for as many as this process may have; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = open_files_allowed()
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


_MANY = 65_536
