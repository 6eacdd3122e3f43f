"""Convert passages to rows of a Milvus collection, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from core.records import Float32Array, Int32Array, Int64Array
from store.passageindex.protocol import Entries, SparseRows, Weights

LISTED = {Weights.BM25: "terms", Weights.LEARNED: "tokens"}  # the fields that list a passage's terms or tokens
LISTED_MOST = 4096  # elements that an array field may have
UNLISTED = -1  # the last element of a list that was cut, because the passage has more than it has room for
_NONE = {0: 1.0}  # stands for an empty vector, which some engines reject
_BLOCK_BYTES = 2**24  # well below the size limit of a message
_ENTRY_BYTES = 18  # per weight: 8 in the vector, up to 10 in the list

Row = dict[str, Any]


def blocks(entries: Entries) -> Iterator[list[Row]]:
    """The passages as rows, in blocks that fit into a message."""
    sizes = _entry_counts(entries.bm25) * _ENTRY_BYTES + entries.vectors.shape[1] * 4
    if entries.learned is not None:
        sizes += _entry_counts(entries.learned) * _ENTRY_BYTES
    full = np.flatnonzero(np.diff(np.cumsum(sizes) // _BLOCK_BYTES)) + 1
    for begin, end in pairwise([0, *full.tolist(), len(sizes)]):
        if begin < end:
            yield [_row(entries, number) for number in range(begin, end)]


def vector(ids: npt.NDArray[np.integer], weights: npt.NDArray[np.floating]) -> dict[int, float]:
    """A sparse vector. Ids are shifted up by one, as 0 stands for an empty vector."""
    return dict(zip((ids.astype(np.int64) + 1).tolist(), weights.tolist(), strict=True))


def entries_of(rows: Sequence[Mapping[str, Any]], dimension: int, *, learned: bool) -> Entries:
    return Entries(
        ids=np.array([row["id"] for row in rows], dtype=np.int64),
        vectors=np.array([row["dense"] for row in rows], dtype=np.float32).reshape(len(rows), dimension),
        bm25=_sparse_rows([row[Weights.BM25] for row in rows]),
        learned=_sparse_rows([row[Weights.LEARNED] for row in rows]) if learned else None,
    )


def _row(entries: Entries, number: int) -> Row:
    row: Row = {"id": int(entries.ids[number]), "dense": entries.vectors[number]}
    for kind, sparse in ((Weights.BM25, entries.bm25), (Weights.LEARNED, entries.learned)):
        if sparse is not None:
            span = slice(int(sparse.offsets[number]), int(sparse.offsets[number + 1]))
            row[kind.value] = vector(sparse.ids[span], sparse.weights[span]) or _NONE
            row[LISTED[kind]] = _listed(sparse.ids[span])
    return row


def _listed(ids: Int32Array) -> list[int]:
    listed: list[int] = ids.tolist()
    return listed if len(listed) <= LISTED_MOST else [*listed[: LISTED_MOST - 1], UNLISTED]


def _entry_counts(rows: SparseRows) -> Int64Array:
    return np.diff(rows.offsets).astype(np.int64)


def _sparse_rows(vectors: Sequence[Mapping[int, float]]) -> SparseRows:
    found = [sorted((key - 1, weight) for key, weight in vector.items() if key > 0) for vector in vectors]
    counts = np.array([len(entries) for entries in found], dtype=np.int64)
    ids: Int32Array = np.array([id_ for entries in found for id_, _ in entries], dtype=np.int32)
    weights: Float32Array = np.array([weight for entries in found for _, weight in entries], dtype=np.float32)
    return SparseRows(offsets=np.append(0, np.cumsum(counts)), ids=ids, weights=weights)
