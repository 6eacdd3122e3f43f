"""Measure the memory of processes, in bytes, by two measures of Linux.

resident        of one process: `own`, its anonymous memory (RssAnon), and `mapped`, pages of files, which others share
                and the system may reclaim (RssFile). For the cost of an index or a leak.
proportional    of a process and its descendants: own and mapped memory, with shared pages divided among the processes
                that share them (PSS). For the cost of a service on a machine.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple


class Resident(NamedTuple):
    """Resident memory of one process, in bytes: anonymous, and mapped from files."""

    own: int
    mapped: int


def resident(pid: int | str = "self") -> Resident:
    """The process's memory. Raises OSError where there is no such process, KeyError where it has ended."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    sizes = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.strip()}
    return Resident(1024 * int(sizes["RssAnon"]), 1024 * int(sizes["RssFile"]))


def proportional(pid: int) -> int:
    """Bytes (PSS) of the process and its descendants; those that end meanwhile count 0."""
    return sum(_pss(one) for one in family(pid))


class Peak:
    """Records the largest `own` and `mapped` memory of a process, sampled every 0.2 s until `end`."""

    def __init__(self, pid: int) -> None:
        self.own = self.mapped = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop sampling."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            try:
                own, mapped = resident(self._pid)
            except (OSError, KeyError):  # it has ended: the status of an ended process has no sizes
                return
            self.own, self.mapped = max(self.own, own), max(self.mapped, mapped)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text("ascii").split()]
            except (FileNotFoundError, ProcessLookupError):
                continue  # the thread has ended; its children are listed under another one
    return found
