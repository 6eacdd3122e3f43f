"""Many chains at once, until there were enough kills, power cuts and acknowledged writes."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.crash.chain import Chain
from tests.crash.running import ROOT, Tally
from tests.crash.trials import migrating, restoring

_AREAS = ("seal", "merge", "rebuild")  # of store/segments/sealing.py, which makes the names of its last steps with them
_RESTORE = re.compile("restore|copy")
_MIGRATE = re.compile("migrate|directory|copy")
_RUN = 1_000_000  # seeds of a run: those of its parts follow on its own one
_STEPS_DEALT = 6  # to each chain
_PLACES = (Path("/dev/shm"),)  # memory: what is killed by a signal leaves to the kernel what it has written
_ROOM = 2**31  # bytes


@dataclass(frozen=True, kw_only=True)
class Goal:
    kills: int
    power_cuts: int
    acknowledged: int
    seconds: float  # after which it ends, whatever was reached

    def reached(self, tally: Tally) -> bool:
        return (
            tally.kills >= self.kills
            and tally.power_cuts >= self.power_cuts
            and tally.acknowledged >= self.acknowledged
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one process does with one directory of its own."""

    what: str  # a chain, restoring or migrating
    seed: int
    steps: tuple[str, ...] = ()
    kills: int = 0  # at random moments
    power_cuts: int = 0
    after: int = 80  # acknowledged writes before each kill, and a third of them before one at a step


def named_steps() -> set[str]:
    """Every step that the sources of the store announce.

    But for repairs, reindexes and what follows in an engine elsewhere: tests/store/repair,
    tests/indexer/reindexing/test_switching.py and tests/crash/test_replication.py end those.
    """
    found = set()
    for path in (ROOT / "store").rglob("*.py"):
        for prefix, name in re.findall(r'reached\((f?)"([^"]+)"\)', path.read_text("utf-8")):
            found |= {name.replace("{area}", area) for area in _AREAS} if prefix else {name}
    return {name for name in found if not name.startswith(("repair.", "reindex.", "follow."))}


def run_part(part: Part) -> Tally:
    logging.getLogger("store").setLevel(logging.ERROR)  # that an upgrade made a backup is no news here
    try:
        return _run(part)
    except Exception as error:
        raise RuntimeError(f"seed {part.seed}: the test itself failed") from error


def _run(part: Part) -> Tally:
    with scratch() as home:
        if part.what == "restoring":
            return restoring(home, part.seed, list(part.steps), part.power_cuts)
        if part.what == "migrating":
            return migrating(home, part.seed, list(part.steps), part.power_cuts)
        chain = Chain(home / "chain", part.seed)
        if part.power_cuts:
            chain.cut_power(operations=20, count=part.power_cuts // 2)
        for step in (*part.steps, *[None] * part.kills):
            if not chain.failed:
                chain.kill(after=part.after if step is None else part.after // 3, step=step)
        if part.power_cuts and not chain.failed:
            chain.cut_power(operations=20, count=part.power_cuts - part.power_cuts // 2)
        return chain.tally


def campaign(goal: Goal, *, seed: int, processes: int, on_progress: Callable[[Tally], None] = lambda _: None) -> Tally:
    """Parts at once, until the goal is reached and every named step was died at; the sum."""
    tally, begun = Tally(), time.monotonic()
    seeds, waiting = itertools.count(seed * _RUN), set[Future[Tally]]()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        while True:
            over = goal.reached(tally) and not named_steps() - tally.steps.keys()
            over = over or bool(tally.findings) or time.monotonic() - begun > goal.seconds
            while not over and len(waiting) < processes:
                waiting.add(pool.submit(run_part, part_of(next(seeds))))
            if not waiting:
                return tally
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                tally.add(future.result())
            on_progress(tally)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is gone afterwards; in memory where there is room."""
    place = next((place for place in _PLACES if place.is_dir() and shutil.disk_usage(place).free > _ROOM), None)
    with tempfile.TemporaryDirectory(prefix="salience-crash-", dir=place, ignore_cleanup_errors=True) as home:
        yield Path(home)


def part_of(seed: int) -> Part:
    """What is done under a seed. The steps are dealt out in turns, and come up again and again."""
    steps, number = sorted(named_steps()), seed % _RUN
    if number % 12 == 4:
        dealt = [step for step in steps if _RESTORE.match(step)]
        return Part(what="restoring", seed=seed, steps=tuple(dealt), power_cuts=6)
    if number % 12 == 8:
        dealt = [step for step in steps if _MIGRATE.match(step)]
        return Part(what="migrating", seed=seed, steps=tuple(dealt), power_cuts=6)
    others = [step for step in steps if not re.match("restore|migrate", step)]
    first = number * _STEPS_DEALT
    dealt = [others[(first + place) % len(others)] for place in range(_STEPS_DEALT)]
    return Part(what="chain", seed=seed, steps=tuple(dealt), kills=_STEPS_DEALT, power_cuts=6)
