"""Significance tests: whether one ranking is better than another, or only happens to be on these queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from core.records import Float64Array

LEVEL = 0.05  # of significance
ROUNDS = 20_000  # random sign assignments; up to 14 queries all assignments are tried instead
_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A comparison of two runs over the same queries."""

    better: str  # the run with the higher mean; the first if they are equal
    worse: str
    difference: float  # of the means, >= 0
    p: float  # chance of so large a difference by luck alone, corrected for the number of comparisons; 0..1

    @property
    def significant(self) -> bool:
        return self.p < LEVEL

    def to_json(self) -> dict[str, Any]:
        return {
            "better": self.better,
            "worse": self.worse,
            "difference": self.difference,
            "p": self.p,
            "significant": self.significant,
        }


def compare(figures: Mapping[str, Sequence[float]]) -> list[Comparison]:
    """Compare every pair of runs, given their figures for the same queries in the same order. Deterministic.

    Uses a paired randomisation test (Smucker, Allan, Carterette, "A Comparison of Statistical Significance Tests for
    Information Retrieval Evaluation", CIKM 2007), with p-values corrected by Holm's method (Scandinavian Journal of
    Statistics 6(2), 1979): the chance of any wrong claim among all comparisons is below LEVEL.
    """
    pairs = list(combinations(figures, 2))
    values = {name: np.asarray(found, dtype=np.float64) for name, found in figures.items()}
    raw = np.array([randomisation(values[a] - values[b]) for a, b in pairs])
    made = []
    for (a, b), p in zip(pairs, holm(raw), strict=True):
        gain = float((values[a] - values[b]).mean())
        better, worse = (a, b) if gain >= 0 else (b, a)
        made.append(Comparison(better=better, worse=worse, difference=abs(gain), p=float(p)))
    return made


def randomisation(differences: Float64Array) -> float:
    """Return the p-value: how often |mean| is as large when every difference gets a random sign.

    `differences`: (queries,) float64.
    """
    moved = differences[differences != 0]  # zeros change no sum
    if not len(moved):
        return 1.0
    seen = abs(moved.sum()) - 1e-9 * np.abs(moved).sum()  # tolerance for rounding
    if 2 ** len(moved) <= ROUNDS:
        signs = 1 - 2 * (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1)
        return float((np.abs(signs @ moved) >= seen).mean())
    draw = np.random.default_rng(0)
    extreme = sum(
        int((np.abs((1 - 2 * draw.integers(0, 2, (_AT_ONCE, len(moved)))) @ moved) >= seen).sum())
        for _ in range(ROUNDS // _AT_ONCE)
    )
    return (extreme + 1) / (ROUNDS + 1)


def holm(p: Float64Array) -> Float64Array:
    """Return the p-values corrected by Holm's method for their number, in the given order."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
