"""Validates the answers of remotes, so that only proper vectors are passed on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import RemoteMismatch
from core.records import Float32Array

_LARGEST = float(np.finfo(np.float32).max)  # weights are stored as float32


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A remote's answer to a batch of prompts, in their order."""

    vectors: Float32Array  # (prompts, dimension), unit length
    sparse: tuple[Mapping[str, float], ...]  # weights above 0 by token; empty if not requested
    tokens: int | None  # number of tokens read in all prompts together; None: not reported
    version: str  # the model's version as the remote names it; empty: not reported
    truncated: frozenset[int] = frozenset()  # indices of the prompts that the remote reports as truncated


def member(value: object, name: str) -> object:
    """A member of a JSON object. Raises RemoteMismatch if it is missing."""
    if not isinstance(value, Mapping) or name not in value:
        raise RemoteMismatch(f"the answer has no {name!r}")
    return value[name]


def members(value: object, name: str, count: int) -> Sequence[object]:
    """A member that is an array of `count` entries, one per prompt. Raises RemoteMismatch for anything else."""
    found = member(value, name)
    if not isinstance(found, list) or len(found) != count:
        actual = f"{len(found)} entries" if isinstance(found, list) else "no list"
        raise RemoteMismatch(f"{name!r} of the answer has {actual}, expected {count}: one for each prompt")
    return found


def token_total(usage: object, name: str) -> int | None:
    """The count of tokens that an answer reports under `name`; None if it is missing or no count."""
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def unit_vectors(rows: Sequence[object]) -> Float32Array:
    """(rows, dimension) float32 of unit length. Raises RemoteMismatch for ragged, non-finite or zero vectors.

    The error's `index` is the last of the rows at fault; None if no single row is at fault.
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
    values = values / largest  # so that squares of tiny or huge values stay in range
    unit: Float32Array = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _odd_one(rows: Sequence[object]) -> int | None:
    """The index of the last row whose size differs from the most frequent one (of equally frequent ones the latest).

    None if no row is a vector, or if none differs.
    """
    sizes = list(map(_size, rows))
    usual = Counter(size for size in reversed(sizes) if size).most_common(1)
    if not usual:
        return None
    return max((place for place, size in enumerate(sizes) if size != usual[0][0]), default=None)


def _size(row: object) -> int:
    """The number of entries of a list of numbers; 0 for anything else."""
    try:
        vector = np.asarray(row)
    except ValueError:
        return 0
    return len(vector) if vector.ndim == 1 and vector.dtype.kind in "iuf" else 0


def sparse_weights(entry: object, place: int) -> dict[str, float]:
    """The weights by token that are above 0 as float32.

    Raises RemoteMismatch, with `place` as its `index`, if `entry` is no object of numbers from 0 to the largest
    float32. `place`: the index of the entry in the answer.
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
