"""The memory of processes, in bytes, by two measures that Linux has.

resident        of one process: `own`, what it alone holds (RssAnon), and `mapped`, pages of files, which others share
                and the system may take back (RssFile). For what an index or a leak costs.
proportional    of a process and all that it started: own and mapped, what several share divided among them (PSS). For
                what a service takes of a machine.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple


class Resident(NamedTuple):
    own: int
    mapped: int


def resident(pid: int | str = "self") -> Resident:
    """Raises OSError where there is no such process."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    sizes = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.strip()}
    return Resident(1024 * int(sizes["RssAnon"]), 1024 * int(sizes["RssFile"]))


def proportional(pid: int) -> int:
    """Of the process and its descendants; those that end meanwhile hold nothing."""
    return sum(_pss(one) for one in family(pid))


class Peak:
    """The most `own` and `mapped` memory that a process was seen with."""

    def __init__(self, pid: int) -> None:
        self.own = self.mapped = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            try:
                own, mapped = resident(self._pid)
            except (OSError, KeyError):  # it is gone: one that has ended has a status without sizes
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
                continue  # the thread has ended; what it had started counts with another one
    return found
