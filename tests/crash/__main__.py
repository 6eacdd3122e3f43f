"""Kills and power cuts in numbers: `python -m tests.crash`, which `make test-crash` calls.

Ends with 1 where anything is wrong, and says the seed that repeats it.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time

from tests.crash.campaign import Goal, campaign, named_steps, part_of, run_part
from tests.crash.check import KINDS
from tests.crash.running import Tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1000), help="of the whole run")
    parser.add_argument("--only", type=int, help="do again what failed under this seed, and nothing else")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--power-cuts", type=int, default=60)
    parser.add_argument("--writes", type=int, default=20_000, help="that are acknowledged")
    parser.add_argument("--seconds", type=float, default=840, help="after which nothing new is begun")
    parser.add_argument("--processes", type=int, default=min(4, os.cpu_count() or 1))
    given = parser.parse_args()
    if given.only is not None:
        tally = run_part(part_of(given.only))
        say(summary(tally))
        return int(bool(tally.findings))
    begun = time.monotonic()
    say(f"seed {given.seed}")

    def progress(tally: Tally) -> None:
        say(f"{time.monotonic() - begun:5.0f} s: {in_short(tally)}")

    goal = Goal(kills=given.kills, power_cuts=given.power_cuts, acknowledged=given.writes, seconds=given.seconds)
    tally = campaign(goal, seed=given.seed, processes=given.processes, on_progress=progress)
    say(summary(tally))
    missed = named_steps() - tally.steps.keys()
    if missed or not goal.reached(tally):
        say(f"that is not enough; no process died at these steps: {', '.join(sorted(missed)) or 'none'}")
        return 1
    return int(bool(tally.findings))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def in_short(tally: Tally) -> str:
    return (
        f"{tally.kills} kills, {tally.power_cuts} power cuts, {tally.acknowledged} acknowledged writes, "
        f"{len(tally.findings)} times something was wrong"
    )


def summary(tally: Tally) -> str:
    steps = named_steps()
    found = ", ".join(f"{kind} {tally.counts[kind]}" for kind in KINDS)
    return "\n".join(
        [
            *tally.findings,
            in_short(tally),
            f"{len(steps & tally.steps.keys())} of {len(steps)} named steps were died at, "
            f"{tally.steps.total()} times in all",
            f"compared: {tally.searches} searches, {tally.segments} segments, {tally.backups} backups; "
            + ", ".join(f"{count} with {what}" for what, count in sorted(tally.indexes.items())),
            f"found: {found}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
