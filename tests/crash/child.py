"""The process that is killed: `python -m tests.crash.child ORDERS`, with the orders as JSON; see `Orders`.

It says on its standard output what it begins and what is acknowledged: a line each, in one write.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.crash import sabotage

Say = Callable[..., None]
ACKNOWLEDGED = ("DONE", "QUEUED", "BACKED", "RESTORED", "MIGRATED")  # first words of the lines that count
LATER = 1000.0  # seconds: for a worker whose clock is ahead by them, the leases of others are over


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What the parent wants."""

    task: str  # a function of tests/crash/tasks.py
    home: str  # holds data/ and backups/
    seed: int = 0
    next_operations: tuple[int, ...] = ()  # of each stream
    operations: int = 0  # that each stream does at most
    backup: str = ""  # the one to restore
    step: str | None = None  # to die at
    occurrence: int = 1  # the how-manieth time, counted from `armed_after` on
    armed_after: int = 0  # acknowledgements
    list_steps: bool = False  # say every step once
    sabotage: str | None = None
    recording: str | None = None  # where to save what was written to the disk

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.crash.child", json.dumps(asdict(self))]


def main(orders: Orders) -> None:
    if orders.sabotage is not None:
        sabotage.apply(orders.sabotage)
    recorder = None
    if orders.recording is not None:
        from tests.crash.recording import Recorder

        recorder = Recorder(Path(orders.home))

    def say(*words: object) -> None:
        line = tuple(map(str, words))
        bomb.acknowledged += line[0] in ACKNOWLEDGED
        if recorder is not None:
            recorder.say(*line)
        os.write(1, " ".join(line).encode() + b"\n")

    logging.getLogger().addHandler(_Complaints())
    bomb = _Bomb(orders, say)
    # Only now: the sources are as they should be, and the disk is watched.
    from store import failpoints
    from tests.crash import tasks

    failpoints.observer = bomb
    getattr(tasks, orders.task)(orders, say)
    if recorder is not None and orders.recording is not None:
        recorder.save(Path(orders.recording))
    say("OVER")
    os._exit(0)  # as sudden as the other ends: nothing is closed


class _Complaints(logging.Handler):
    """What the program calls an error, or did not expect, goes to standard error, where nothing should be."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            sys.stderr.write(f"{record.name}: {self.format(record)}\n")


class _Bomb:
    """Told of every step, it ends the process at the right one."""

    def __init__(self, orders: Orders, say: Say) -> None:
        self.acknowledged = 0
        self._orders = orders
        self._say = say
        self._left = orders.occurrence
        self._said: set[str] = set()

    def __call__(self, step: str) -> None:
        if self._orders.list_steps and step not in self._said:
            self._said.add(step)
            self._say("STEP", step)
        if step == self._orders.step and self.acknowledged >= self._orders.armed_after:
            self._left -= 1
            if self._left == 0:
                self._say("STEP", step)
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Orders(**json.loads(sys.argv[1])))
