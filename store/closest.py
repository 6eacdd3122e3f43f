"""Suggest names that are similar to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from rapidfuzz import fuzz, process

_SHOWN = 3
_LIKENESS = 0.6  # difflib's own threshold
_COMPARED = 100  # names that difflib, which is many times slower, puts into its own order


def closest(name: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that are most similar to `name`, the most similar first; empty if none is similar.

    `names` may hold many thousands. rapidfuzz preselects: its ratio is never below difflib's for the same pair.
    """
    alike = process.extract(name, names, scorer=fuzz.ratio, score_cutoff=100 * _LIKENESS - 0.01, limit=_COMPARED)
    return difflib.get_close_matches(name, [found for found, _, _ in alike], n=_SHOWN, cutoff=_LIKENESS)
