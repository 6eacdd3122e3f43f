"""Running children, and what comes of them in numbers."""

from __future__ import annotations

import os
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.check import Findings
from tests.crash.child import ACKNOWLEDGED, Orders

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 180.0  # after which a child hangs

Line = tuple[str, ...]  # of a child: its words


@dataclass(kw_only=True)
class Tally:
    """What was done, and what was found."""

    kills: int = 0
    steps: Counter[str] = field(default_factory=Counter)  # kills at each
    power_cuts: int = 0
    acknowledged: int = 0  # writes
    searches: int = 0  # compared with the oracle's
    segments: int = 0  # read to the last byte
    indexes: Counter[str] = field(default_factory=Counter)  # codes, lists and graphs that these had, compared
    backups: int = 0  # looked at
    counts: Counter[str] = field(default_factory=Counter)  # of findings, by kind
    findings: list[str] = field(default_factory=list)  # each with the seed and the moment

    def take(self, findings: Findings, where: str) -> None:
        self.searches += findings.searches
        self.segments += findings.segments
        self.indexes += findings.indexes
        for kind, problems in findings.problems.items():
            self.counts[kind] += len(problems)
        if findings:
            self.findings.append(f"{where}: {findings}")

    def add(self, other: Tally) -> None:
        for name in ("kills", "power_cuts", "acknowledged", "searches", "segments", "backups"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.steps += other.steps
        self.counts += other.counts
        self.indexes += other.indexes
        self.findings += other.findings


@dataclass(frozen=True, kw_only=True)
class Life:
    """Of one child."""

    lines: list[Line]  # what it said
    killed: bool
    complaint: str  # what it wrote to standard error, and how it ended where it ended in another way than it should

    @property
    def steps(self) -> list[str]:
        """At which it died, or all that it came by where it was asked to name them."""
        return [line[1] for line in self.lines if line[0] == "STEP"]

    def findings(self) -> Findings:
        found = Findings()
        if self.complaint:
            found.add("failed", self.complaint)
        return found


def live(orders: Orders, *, stop_after: int | None = None, pause_seconds: float = 0.0) -> Life:
    """Run a child to its end, or kill it `pause_seconds` after so many acknowledgements."""
    lines: list[Line] = []
    acknowledged = 0
    command = orders.command()
    pipe, alone = subprocess.PIPE, os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=alone, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        patience = threading.Timer(PATIENCE_SECONDS, child.terminate)
        death = threading.Timer(pause_seconds, child.kill)
        patience.start()
        for line in child.stdout:
            lines.append(tuple(line.split()))
            if lines[-1][0] in ACKNOWLEDGED:
                acknowledged += 1
                if acknowledged == stop_after:
                    death.start()
        complaint = child.stderr.read()
        code = child.wait()
        patience.cancel()
        death.cancel()
    if code not in (0, -9):
        complaint += f"\nended with {code}"
    return Life(lines=lines, killed=code == -9, complaint=complaint[-1500:])
