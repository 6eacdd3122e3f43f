"""Compiled loops for sparse scoring: the same as the numpy code of store/sparse.py, several times as fast.

Import this module only through `store.kernel_loading`, because it imports numba. The loops give the same numbers as
numpy, bit by bit: the same operations in the same order, neither fused nor reordered (numba does that only on request).
Arrays may be read-only, like those of a mapped file. The interpreter lock is released while a loop runs. Indexes of
inner loops are unsigned: a signed index is checked for being negative at each access, which costs a third of the speed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import types

from core.records import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array

WINDOW = 4096  # rows that are summed before the next ones: their sums stay in the processor's cache
_BLOCK = 64  # rows of a window that are skipped together when none of them reaches the threshold

Loop = TypeVar("Loop", bound=Callable[..., Any])


def _read(kind: Any) -> Any:
    """The numba type of a read-only array."""
    return types.Array(kind, 1, "C", readonly=True)


def _compiled(*signature: Any) -> Callable[[Loop], Loop]:
    """Compile on import, or load what an earlier process compiled on this machine."""

    def decorate(loop: Loop) -> Loop:
        try:
            return cast("Loop", numba.njit(signature, nogil=True, cache=True)(loop))
        except RuntimeError:  # numba finds no writable cache folder: each process compiles for itself
            return cast("Loop", numba.njit(signature, nogil=True)(loop))

    return decorate


_POSTINGS = (_read(types.int32), _read(types.int64), _read(types.int32), _read(types.float32), _read(types.float32))
_WANTED = (_read(types.int32), _read(types.float64))


@numba.njit(nogil=True)
def _first_at_least(ascending: Int32Array, begin: int, end: int, value: int) -> int:
    """The first index in [begin, end) whose value is `value` or more; `end` when there is none."""
    while begin < end:
        middle = (begin + end) // 2
        if ascending[middle] < value:
            begin = middle + 1
        else:
            end = middle
    return begin


@numba.njit(nogil=True)
def _leap(rows: Int32Array, cursor: int, end: int, row: int) -> int:
    """The first index from `cursor` on with `row` or more, by galloping search: it is usually near."""
    step = 1
    while cursor + step < end and rows[cursor + step] < row:
        cursor += step
        step *= 2
    return _first_at_least(rows, cursor, min(cursor + step, end), row)


@numba.njit(nogil=True)
def _add_saturated(
    rows: Int32Array,
    values: Float32Array,
    saturations: Float32Array,
    factor: float,
    cursor: int,
    end: int,
    begin: int,
    stop: int,
    sums: Float64Array,
) -> np.int64:
    """Add factor * frequency / (frequency + saturation) up to the row `stop`. Returns the index of the next posting."""
    place, first = np.uintp(cursor), np.uintp(begin)
    while place < np.uintp(end):
        row = np.uintp(rows[place])
        if row >= np.uintp(stop):
            break
        frequency = values[place]
        sums[row - first] += factor * np.float64(frequency / (frequency + saturations[row]))
        place += np.uintp(1)
    return np.int64(place)


@numba.njit(nogil=True)
def _add(
    rows: Int32Array,
    values: Float32Array,
    factor: float,
    cursor: int,
    end: int,
    begin: int,
    stop: int,
    sums: Float64Array,
) -> np.int64:
    """Like `_add_saturated`, for values that are already weights: adds factor * weight."""
    place, first = np.uintp(cursor), np.uintp(begin)
    while place < np.uintp(end):
        row = np.uintp(rows[place])
        if row >= np.uintp(stop):
            break
        sums[row - first] += factor * np.float64(values[place])
        place += np.uintp(1)
    return np.int64(place)


@_compiled(
    *_POSTINGS,
    _read(types.boolean),
    _read(types.int64),
    *_WANTED,
    types.int64[::1],
    types.int64,
    types.float64,
    types.int64[::1],
    types.float64[::1],
    types.int64,
)
def sweep(
    terms: Int32Array,
    offsets: Int64Array,
    rows: Int32Array,
    values: Float32Array,
    saturations: Float32Array,
    mask: BoolArray,
    ids: Int64Array,
    wanted: Int32Array,
    factors: Float64Array,
    cursors: Int64Array,
    begin: int,
    threshold: float,
    found_ids: Int64Array,
    found_scores: Float64Array,
    count: int,
) -> tuple[int, int]:
    """Sum factor * weight over the `wanted` terms, window by window, and record the sums of `threshold` or more.

    terms, offsets, rows, values: those of Postings. saturations: (rows,), or empty for values that are weights.
    mask, ids: (rows,) which rows count, and their passages. cursors: (wanted,) kept for the next call.
    Starts at the row `begin`, with `count` results already found. Stops at the end, or where found_ids and found_scores
    may have no room for another window. Returns the row to continue from, and the new count.
    """
    ends = np.zeros(len(wanted), np.int64)
    for i in range(len(wanted)):
        place = _first_at_least(terms, 0, len(terms), wanted[i])
        if place < len(terms) and terms[place] == wanted[i]:
            ends[i] = offsets[place + 1]
            if begin == 0:
                cursors[i] = offsets[place]
        else:
            cursors[i] = 0
    sums = np.zeros(WINDOW)
    while begin < len(mask) and count + WINDOW <= len(found_ids):
        stop = min(begin + WINDOW, len(mask))
        for i in range(len(wanted)):
            if len(saturations):
                cursors[i] = _add_saturated(
                    rows, values, saturations, factors[i], cursors[i], ends[i], begin, stop, sums
                )
            else:
                cursors[i] = _add(rows, values, factors[i], cursors[i], ends[i], begin, stop, sums)
        for block in range(0, WINDOW, _BLOCK):
            reached = 0
            for place in range(block, block + _BLOCK):  # branch-free, so that it is vectorised
                reached += sums[np.uintp(place)] >= threshold
            if reached:  # sums beyond `stop` are 0
                for place in range(block, block + _BLOCK):
                    if sums[np.uintp(place)] >= threshold and mask[begin + place]:
                        found_ids[count] = ids[begin + place]
                        found_scores[count] = sums[np.uintp(place)]
                        count += 1
        sums[:] = 0.0
        begin = stop
    return begin, count


@_compiled(*_POSTINGS, *_WANTED, _read(types.int64), _read(types.int64), types.float64[:, ::1])
def fill(
    terms: Int32Array,
    offsets: Int64Array,
    rows: Int32Array,
    values: Float32Array,
    saturations: Float32Array,
    wanted: Int32Array,
    factors: Float64Array,
    places: Int64Array,
    asked: Int64Array,
    table: Float64Array,
) -> None:
    """Write factor * weight of the wanted term j in the row asked[i] to table[places[i], j], where it occurs.

    Fastest for ascending rows: each term's postings are then traversed once, in leaps.
    """
    for j in range(len(wanted)):
        place = _first_at_least(terms, 0, len(terms), wanted[j])
        if place == len(terms) or terms[place] != wanted[j]:
            continue
        begin, end = offsets[place], offsets[place + 1]
        cursor = begin
        for i in range(len(asked)):
            if i and asked[i] < asked[i - 1]:
                cursor = begin
            cursor = _leap(rows, cursor, end, asked[i])
            if cursor < end and rows[cursor] == asked[i]:
                weight = values[cursor]
                if len(saturations):
                    weight = weight / (weight + saturations[asked[i]])
                table[places[i], j] = factors[j] * np.float64(weight)
