"""What this process holds of the machine, and may hold, as the kernel says it."""

from __future__ import annotations

import ipaddress
import math
import os
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the metrics library's: where several processes keep their figures
_STATUS = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd")
_GROUPS = Path("/proc/self/cgroup")
_LIMITS = Path("/sys/fs/cgroup")


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


def cores() -> int:
    """How many this process may keep busy: those it may run on, and no more than the quota of a container comes to.

    Part of a core counts as one. Libraries look at the former only, when they choose how many threads compute.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([allowed, *(max(1, math.ceil(quota)) for quota in _quotas())])


def compute_within_quota() -> None:
    """Let torch, and models that compute with as many threads as it does, take no more of them than there are `cores`.

    OMP_NUM_THREADS counts more.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ and cores() < torch.get_num_threads():
        torch.set_num_threads(cores())


def bound(host: str, port: int) -> socket.socket:
    """A socket of this address, at which nobody listens yet. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def is_local(listener: socket.socket) -> bool:
    """Whether it can be reached from this machine alone."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _quotas() -> Iterator[float]:
    """Cores' worth of time that the control groups around this process may take, where they are limited."""
    try:
        lines = [line.split(":", 2) for line in _GROUPS.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers and "cpu" not in controllers.split(","):
            continue
        # A container may see the path that its group has outside, and its own files at the root all the same.
        inner = PurePosixPath(path.lstrip("/"))
        for group in (inner, *inner.parents):
            if not controllers:
                limits = [_limit(_LIMITS / group / "cpu.max")]
            else:  # the first version of control groups; "cpu" mostly is a link to what has the names of several
                mounts = (_LIMITS / mount / group for mount in {"cpu", controllers})
                limits = [_limit(mount / "cpu.cfs_quota_us", mount / "cpu.cfs_period_us") for mount in mounts]
            yield from (limit for limit in limits if limit is not None)


def _limit(*files: Path) -> float | None:
    """What these say in all is a quota and a period. None: there is no limit ("max", -1), or none that can be read."""
    try:
        quota, period = (int(number) for file in files for number in file.read_text("ascii").split())
        return quota / period if quota > 0 and period > 0 else None
    except (OSError, ValueError, OverflowError):
        return None


_MANY = 65_536
