"""The names that a mistyped one could have been meant for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from rapidfuzz import fuzz, process

_SHOWN = 3
_LIKENESS = 0.6  # difflib's own threshold
_COMPARED = 100  # names that difflib, which takes many times as long for one, puts into its own order


def closest(name: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that are most like `name`, the likest first; none where none is like it.

    `names` may be many thousands. What difflib finds alike, rapidfuzz's ratio finds at least as much alike.
    """
    alike = process.extract(name, names, scorer=fuzz.ratio, score_cutoff=100 * _LIKENESS - 0.01, limit=_COMPARED)
    return difflib.get_close_matches(name, [found for found, _, _ in alike], n=_SHOWN, cutoff=_LIKENESS)
