"""What remotes answer, checked: nothing that is not a proper vector gets any further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import RemoteMismatch
from core.records import Float32Array

_LARGEST = float(np.finfo(np.float32).max)  # as weights are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A remote's answer to a batch of prompts, in their order."""

    vectors: Float32Array  # (prompts, dimension), unit length
    sparse: tuple[Mapping[str, float], ...]  # weights above 0 by token; empty where they were not asked for
    tokens: int | None  # that the remote read of all prompts; None: it does not say
    version: str  # of the model, as the remote names it; empty: it does not
    truncated: frozenset[int] = frozenset()  # prompts of which the remote says that it did not read all


def member(value: object, name: str) -> object:
    """A member of a JSON object. Raises RemoteMismatch where it is missing."""
    if not isinstance(value, Mapping) or name not in value:
        raise RemoteMismatch(f"the answer has no {name!r}")
    return value[name]


def members(value: object, name: str, count: int) -> Sequence[object]:
    """A JSON array of one entry a prompt. Raises RemoteMismatch for any other number."""
    found = member(value, name)
    if not isinstance(found, list) or len(found) != count:
        actual = f"{len(found)} entries" if isinstance(found, list) else "no list"
        raise RemoteMismatch(f"{name!r} of the answer has {actual}, expected {count}: one for each prompt")
    return found


def token_total(usage: object, name: str) -> int | None:
    """A count of tokens that is told by the way."""
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def unit_vectors(rows: Sequence[object]) -> Float32Array:
    """(rows, dimension) float32 of unit length. Raises RemoteMismatch for ragged, infinite, zero ones.

    `index`: the last of the rows that are not as the others; None: no row alone is at fault.
    """
    try:
        matrix = np.asarray(rows)
    except ValueError:
        raise RemoteMismatch("the answer's vectors are not all of one dimension", index=_odd_one(rows)) from None
    if matrix.ndim != 2 or matrix.shape[1] == 0 or matrix.dtype.kind not in "iuf":
        raise RemoteMismatch(
            "the answer's vectors are not lists of numbers, all of one dimension", index=_odd_one(rows)
        )
    values = matrix.astype(np.float64)
    largest = np.abs(values).max(axis=1, keepdims=True)
    unusable = np.flatnonzero(~np.isfinite(largest[:, 0]) | (largest[:, 0] == 0))
    if len(unusable):
        row = int(unusable[-1])
        what = "is all zero" if largest[row, 0] == 0 else "holds a value that is not finite"
        raise RemoteMismatch(f"vector {row} of the answer {what}", index=row)
    values = values / largest  # squares of tiny and of huge values would leave the range
    unit: Float32Array = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _odd_one(rows: Sequence[object]) -> int | None:
    """The last row that is no vector as most others are, or, of two kinds as frequent, as the last one is.

    None: none is a vector.
    """
    sizes = list(map(_size, rows))
    usual = Counter(size for size in reversed(sizes) if size).most_common(1)
    if not usual:
        return None
    return max((place for place, size in enumerate(sizes) if size != usual[0][0]), default=None)


def _size(row: object) -> int:
    """0 for what is no list of numbers."""
    try:
        vector = np.asarray(row)
    except ValueError:
        return 0
    return len(vector) if vector.ndim == 1 and vector.dtype.kind in "iuf" else 0


def sparse_weights(entry: object, place: int) -> dict[str, float]:
    """Weights above 0, in float32, by token. Raises RemoteMismatch for what is no object of numbers that it has.

    `place`: of the entry in the answer, which is the error's `index`.
    """
    if not isinstance(entry, Mapping):
        raise RemoteMismatch("a sparse vector of the answer is not an object of tokens and weights", index=place)
    for weight in entry.values():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 <= weight <= _LARGEST:
            raise RemoteMismatch(
                f"a sparse weight of the answer is not a finite number from 0 to {_LARGEST:.2g}", index=place
            )
    return {token: float(weight) for token, weight in entry.items() if np.float32(weight) > 0}
