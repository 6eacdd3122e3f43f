"""Judge whether sampled quantities grow: fit a line to the second half of the samples, with an error of its slope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from core.records import Float64Array

WARM_UP = 0.5  # of the time: bounded caches fill, and the allocator finds its size
STEADY = 0.01  # allowed growth of memory from the warm-up to the end, as a share
STEADY_FILES = 3.0  # the same for files and threads, as a number: connections of clients come and go
STRETCHES = 12  # time is cut into these after the warm-up, as samples within seconds are not independent
JUDGED = {"own_mib": None, "files": STEADY_FILES, "threads": STEADY_FILES}  # allowed growth; None: the share STEADY
T_95 = 2.228  # Student's t, two-sided, at STRETCHES - 2 degrees of freedom


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of the server process, taken `minute` minutes after the start of the load."""

    minute: float
    own_mib: float  # anonymous memory: the system can reclaim mapped files
    caches_mib: float  # part of it: caches of models' results
    files: int
    threads: int


def judged(samples: Sequence[Sample]) -> dict[str, Any]:
    """The verdict on each quantity, and `flat`: whether all are flat.

    A quantity is "flat" if its growth after the warm-up plus its error is at most `allowed`; it "grows" if the growth
    alone exceeds `allowed`; otherwise it is "unsure", and a longer run would tell. Raises ValueError for fewer than two
    samples per stretch.
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
    """The trend of one quantity after the warm-up; `most`: its allowed growth, None for the share STEADY."""
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
        "error": round(float(unsure), 2),  # half the width of the 95 % confidence interval of `added`
        "allowed": round(float(allowed), 2),
        "an_hour": round(float(slope * 60), 1),
        "verdict": verdict,
    }
