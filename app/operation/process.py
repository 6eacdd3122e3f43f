"""The resources that this process uses and may use, according to the kernel: memory, open files, cores, sockets."""

from __future__ import annotations

import ipaddress
import math
import os
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # of the metrics library: the folder that several processes share
_STATUS = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd")
_GROUPS = Path("/proc/self/cgroup")
_LIMITS = Path("/sys/fs/cgroup")


def resident_bytes() -> int:
    """Return the resident memory in bytes; where the kernel does not report it, its peak."""
    try:
        return int(_STATUS.read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def open_files() -> int:
    """Return the number of open file descriptors; 0 where the system does not report it."""
    try:
        return len(os.listdir(_FILES))
    except OSError:
        return 0


def open_files_allowed() -> int:
    """Return the most file descriptors that this process may ask for: its hard limit, at most 65,536."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY if hard == resource.RLIM_INFINITY else min(hard, _MANY)


def raise_open_files() -> int:
    """Raise the soft limit on file descriptors to `open_files_allowed`, and return that number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = open_files_allowed()
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def cores() -> int:
    """Return how many cores this process may keep busy: its CPU affinity, limited by the CPU quota of a container.

    A fraction of a core counts as one. Libraries ignore the quota when they choose their number of threads.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([allowed, *(max(1, math.ceil(quota)) for quota in _quotas())])


def compute_within_quota() -> None:
    """Limit the threads of torch, and of models that use as many as it does, to `cores`.

    OMP_NUM_THREADS takes precedence.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ and cores() < torch.get_num_threads():
        torch.set_num_threads(cores())


def bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to this address, not yet listening. Raises OSError."""
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
    """Whether the socket can be reached only from this machine."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _quotas() -> Iterator[float]:
    """Yield the CPU quota, in cores, of each limited control group around this process."""
    try:
        lines = [line.split(":", 2) for line in _GROUPS.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers and "cpu" not in controllers.split(","):
            continue
        # A container may see its group's path as on the host, though its own files are at the root: hence the parents.
        inner = PurePosixPath(path.lstrip("/"))
        for group in (inner, *inner.parents):
            if not controllers:
                limits = [_limit(_LIMITS / group / "cpu.max")]
            else:  # control groups version 1; "cpu" usually links to a mount named after several controllers
                mounts = (_LIMITS / mount / group for mount in {"cpu", controllers})
                limits = [_limit(mount / "cpu.cfs_quota_us", mount / "cpu.cfs_period_us") for mount in mounts]
            yield from (limit for limit in limits if limit is not None)


def _limit(*files: Path) -> float | None:
    """Return quota / period, which these files contain together; None if unlimited ("max", -1) or unreadable."""
    try:
        quota, period = (int(number) for file in files for number in file.read_text("ascii").split())
        return quota / period if quota > 0 and period > 0 else None
    except (OSError, ValueError, OverflowError):
        return None


_MANY = 65_536
