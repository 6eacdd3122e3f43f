"""One data directory that is written to, killed over, looked at, and written to again, many times."""

from __future__ import annotations

import copy
import pickle
import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from store.directory import BACKUPS, DATABASE_NAME, SEGMENTS
from tests.crash.check import examine, examine_backup
from tests.crash.child import Orders
from tests.crash.disk import cuts, moments
from tests.crash.oracle import Oracle
from tests.crash.recording import Event
from tests.crash.running import Life, Line, Tally, live

_KEPT_BACKUPS = 1
_AT_ONCE = (
    "process",
    "leftover",
    "maintenance",
    "rebuild",
    "remove",
)  # steps that a child comes by as it begins, or seldom
_UNHEARD = ("STEP", "OVER")  # first words of lines that the oracle has no use for


class Chain:
    """Everything but the moments at which threads take turns follows from the seed."""

    def __init__(self, home: Path, seed: int, *, sabotage: str | None = None) -> None:
        self.tally = Tally()
        self._home = home
        self._seed = seed
        self._sabotage = sabotage
        self._chance = random.Random(seed)
        self._oracle = Oracle(seed)
        self._removed: set[str] = set()  # segments whose file was taken away
        (home / "backups").mkdir(parents=True)

    @property
    def failed(self) -> bool:
        return bool(self.tally.findings)

    def kill(self, *, after: int, step: str | None = None) -> bool:
        """Let a child write until `after` writes are acknowledged and, with `step`, until it comes there.

        Whether it did: else it was killed in the end, at any moment.
        """
        self._make_work(step)
        orders = self._orders(
            step=step,
            occurrence=self._chance.choice((1, 1, 2, 5)) if step and step.startswith(("commit", "write")) else 1,
            armed_after=0 if step and step.startswith(_AT_ONCE) else after,
            operations=10 * after + 300,
        )
        pause = self._chance.uniform(0, 0.03)
        life = live(orders, stop_after=after if step is None else 3 * after + 150, pause_seconds=pause)
        self._hear(life)
        self.tally.kills += life.killed
        self.tally.steps.update(life.steps)
        self._look(f"kill {self.tally.kills} at {', '.join(life.steps) or 'a random moment'}")
        return bool(life.steps)

    def cut_power(self, *, operations: int, count: int) -> None:
        """Let a child write, and see what `count` power cuts, at any moments of its life, would have left.

        The chain goes on with what the last one left.
        """
        before, recording, cut = (
            self._home.with_name(f"{self._home.name}.{end}") for end in ("old", "recording", "cut")
        )
        shutil.copytree(self._home, before)
        life = live(self._orders(operations=operations, recording=str(recording)))
        self.tally.take(life.findings(), f"seed {self._seed}, a life that was recorded")
        if not recording.exists():
            return
        events: list[Event] = pickle.loads(recording.read_bytes())
        done, oracle, acknowledged = 0, self._oracle, self._oracle.acknowledged
        for place, disk in cuts(before, events, moments(events, count, self._chance)):
            _tell(oracle, [event for event in events[done:place] if event[0].isupper()])
            done = place
            disk.cut(self._chance, cut)
            shutil.rmtree(self._home)
            cut.rename(self._home)
            self._oracle = copy.deepcopy(oracle)
            self.tally.power_cuts += 1
            where = f"event {place} of {len(events)}, {events[place - 1][:2]}"
            self._look(f"power cut {self.tally.power_cuts}, after {where}")
        self.tally.acknowledged += self._oracle.acknowledged - acknowledged
        shutil.rmtree(before)
        recording.unlink()

    def survey(self, operations: int) -> set[str]:
        """Let a child write in peace; the steps that it comes by."""
        self._make_work("rebuild")
        life = live(self._orders(operations=operations, list_steps=True))
        self._hear(life)
        self._look("a life in peace")
        return set(life.steps)

    def newest_backup(self) -> str | None:
        """The name of one that was acknowledged."""
        return max(self._oracle.backups, default=None)

    def oracle(self) -> Oracle:
        return self._oracle

    def _orders(self, **wanted: object) -> Orders:
        return Orders(
            task="write",
            home=str(self._home),
            seed=self._seed,
            next_operations=tuple(self._oracle.next_operations),
            sabotage=self._sabotage,
            **wanted,  # type: ignore[arg-type]
        )

    def _hear(self, life: Life) -> None:
        before = self._oracle.acknowledged
        _tell(self._oracle, life.lines)
        self.tally.acknowledged += self._oracle.acknowledged - before
        self.tally.take(life.findings(), f"seed {self._seed}, a child")

    def _look(self, where: str) -> None:
        where, oracle = f"seed {self._seed}, {where}", self._oracle
        names = sorted(oracle.backups)
        for name in names[-_KEPT_BACKUPS:]:
            found = examine_backup(self._home / "backups" / name, oracle, self._home / "scratch")
            self.tally.take(found, where)
            self.tally.backups += 1
        self.tally.take(examine(self._home / "data", oracle, self._chance, self._removed), where)
        for name in names[:-_KEPT_BACKUPS]:
            oracle.backups.discard(name)
            shutil.rmtree(self._home / "backups" / name, ignore_errors=True)

    def _make_work(self, step: str | None) -> None:
        """For steps that a sound directory does not come by: take a segment's file away, leave something unfinished."""
        data = self._home / "data"
        if step is not None and step.startswith("rebuild") and (data / DATABASE_NAME).exists():
            with closing(sqlite3.connect(data / DATABASE_NAME)) as connection:
                names = connection.execute("SELECT name FROM segment WHERE state = 'active'").fetchall()
            for (name,) in names[:1]:
                (data / SEGMENTS / name).unlink(missing_ok=True)  # it may still be gone
                self._removed.add(name)
        if step is not None and step.startswith("leftover"):
            unfinished = data / BACKUPS / ".schema-0000.unfinished-by-the-test"
            unfinished.mkdir(parents=True, exist_ok=True)
            (unfinished / DATABASE_NAME).write_bytes(b"half")


def _tell(oracle: Oracle, lines: Sequence[Line]) -> None:
    for line in lines:
        if line[0] not in _UNHEARD:
            oracle.hear(*line)
