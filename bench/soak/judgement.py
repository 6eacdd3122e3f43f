"""Whether what was sampled stays as it is: a line through the second half, and how sure its slope is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from core.records import Float64Array

WARM_UP = 0.5  # of the time: bounded caches fill, and the allocator finds its size
STEADY = 0.01  # of the memory after the warm-up, that may be added until the end
STEADY_FILES = 3.0  # as much, of files and threads: connections of clients come and go
STRETCHES = 12  # of the time after the warm-up; what follows one another within seconds is no witness of its own
JUDGED = {"own_mib": None, "files": STEADY_FILES, "threads": STEADY_FILES}  # what each may add; None: STEADY of it
T_95 = 2.228  # Student's t, two-sided, at STRETCHES - 2 degrees of freedom


@dataclass(frozen=True, slots=True)
class Sample:
    minute: float
    own_mib: float  # anonymous memory: mapped files are the system's to take back
    caches_mib: float  # of it, what models made lately
    files: int
    threads: int


def judged(samples: Sequence[Sample]) -> dict[str, Any]:
    """`flat`: each quantity's is. At least two samples a stretch are needed, else ValueError.

    A quantity is "flat" where what it added after the warm-up is, with its error, no more than `allowed`; it "grows"
    where it is more than that without it; else nobody can tell, and a longer run would.
    """
    steady = samples[int(len(samples) * WARM_UP) :]
    if len(steady) < 2 * STRETCHES:
        raise ValueError(f"{len(steady)} samples after the warm-up, and {2 * STRETCHES} are needed; run for longer")
    minutes = np.array([sample.minute for sample in steady])
    report: dict[str, Any] = {}
    for name, most in JUDGED.items():
        values = np.array([float(getattr(sample, name)) for sample in steady])
        report[name] = {
            "first": getattr(samples[0], name),
            "largest": max(getattr(sample, name) for sample in samples),
            "last": getattr(samples[-1], name),
            **_course(minutes, values, most),
        }
    return {
        "flat": all(each["verdict"] == "flat" for each in report.values()),
        "minutes": round(samples[-1].minute, 2),
        "warm_up_minutes": round(float(minutes[0]), 2),
        "caches_mib": {"after_warm_up": steady[0].caches_mib, "last": steady[-1].caches_mib},
        **report,
        "samples": [asdict(sample) for sample in samples[:: max(1, len(samples) // 40)]],
    }


def _course(minutes: Float64Array, values: Float64Array, most: float | None) -> dict[str, Any]:
    """Of one quantity after the warm-up; `most`: what it may add, None: STEADY of what it is."""
    at, means = (np.array([part.mean() for part in np.array_split(each, STRETCHES)]) for each in (minutes, values))
    slope, at_zero = np.polyfit(at, means, 1)
    spread = at - at.mean()
    left = means - (slope * at + at_zero)
    error = T_95 * np.sqrt((left**2).sum() / (STRETCHES - 2) / (spread**2).sum())
    span = minutes[-1] - minutes[0]
    after = slope * minutes[0] + at_zero
    allowed = STEADY * after if most is None else most
    added, unsure = slope * span, error * span
    verdict = "flat" if added + unsure <= allowed else "grows" if added > allowed else "unsure"
    return {
        "after_warm_up": round(float(after), 1),
        "added": round(float(added), 2),
        "error": round(float(unsure), 2),  # of `added`, half of the interval that holds it in 95 of 100 cases
        "allowed": round(float(allowed), 2),
        "an_hour": round(float(slope * 60), 1),
        "verdict": verdict,
    }
