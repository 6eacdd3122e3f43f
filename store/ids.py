"""Sets of ids as sorted arrays, each id once.

numpy's own functions for sets put integers into a hash table (`unique`, and what asks it: `isin`, `union1d`,
`setdiff1d`), which takes hundreds of times as long as sorting them: a second for 300,000.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.records import BoolArray, Int64Array

_FEW = 1000  # ids, up to which looking each up is faster than making a table
_SPARSE = 6  # times as wide as they are many: a table of ids would take more memory than the ids


def distinct(ids: NDArray[Any]) -> NDArray[Any]:
    """Sorted, each once."""
    return counted(ids)[0]


def counted(ids: NDArray[Any]) -> tuple[NDArray[Any], Int64Array]:
    """The distinct ids, sorted, and how often each is there."""
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
