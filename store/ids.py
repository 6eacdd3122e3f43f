"""Sets of ids as sorted arrays of distinct ids.

numpy's own set functions (`unique`, and `isin`, `union1d` and `setdiff1d`, which call it) put integers into a hash
table, which takes hundreds of times as long as sorting them: a second for 300,000.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.records import BoolArray, Int64Array

_FEW = 1000  # ids, up to which looking up each is faster than building a table
_SPARSE = 6  # ratio of the range of the ids to their number above which a table takes more memory than the ids


def distinct(ids: NDArray[Any]) -> NDArray[Any]:
    """The distinct ids, sorted."""
    return counted(ids)[0]


def counted(ids: NDArray[Any]) -> tuple[NDArray[Any], Int64Array]:
    """The distinct ids, sorted, and how often each occurs."""
    ids = np.sort(ids)
    starts = np.flatnonzero(np.concatenate([ids[:1] == ids[:1], ids[1:] != ids[:-1]]))
    return ids[starts], np.diff(starts, append=len(ids))


def belong(some: Int64Array, ids: Int64Array) -> BoolArray:
    """(n,) which of `some`, in any order, are among the sorted `ids`."""
    if not len(ids):
        return np.zeros(len(some), dtype=np.bool_)
    if len(some) > _FEW and int(ids[-1]) - int(ids[0]) <= _SPARSE * (len(some) + len(ids)):
        return np.isin(some, ids, kind="table")
    found: BoolArray = ids.take(ids.searchsorted(some), mode="clip") == some
    return found
