"""Whether one ranking is better than another, or only luckier with these queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from core.records import Float64Array

LEVEL = 0.05
ROUNDS = 20_000  # of signs drawn; up to 14 queries all are gone through
_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Of two runs over the same queries."""

    better: str  # the run with the higher mean; the first of two equals
    worse: str
    difference: float  # of the means, >= 0
    p: float  # how often luck alone makes so large a difference, corrected for the number of comparisons; 0..1

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
    """Every pair of runs: figures of the same queries in the same order. The same figures give the same answer.

    A paired randomisation test (Smucker, Allan, Carterette, "A Comparison of Statistical Significance Tests for
    Information Retrieval Evaluation", CIKM 2007), its p-values corrected by Holm (Scandinavian Journal of Statistics
    6(2), 1979): under all of them together, one wrong claim has a chance below LEVEL.
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
    """How often |mean| is as large when every difference has a random sign. `differences`: (queries,)."""
    moved = differences[differences != 0]  # the others change no sum
    if not len(moved):
        return 1.0
    seen = abs(moved.sum()) - 1e-9 * np.abs(moved).sum()  # rounding is no difference
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
    """The p-values, corrected for their number, in the order given."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
