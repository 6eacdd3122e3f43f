"""Passages to put into an index, and what it gives back, in a form that can be compared."""

from __future__ import annotations

import numpy as np

from store.passageindex.protocol import Entries, PassageIndex, SparseRows

DIMENSION = 16
TERMS = 60
Row = tuple[bytes, dict[int, float], dict[int, float] | None]


def some_entries(count: int, *, seed: int, learned: bool = True, first: int = 1) -> Entries:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Entries(
        ids=rng.permutation(count) + first,
        vectors=vectors,
        bm25=some_rows(rng, count, least=1),
        learned=some_rows(rng, count, least=0) if learned else None,
    )


def some_rows(rng: np.random.Generator, count: int, *, least: int) -> SparseRows:
    """Each with 0 to 11 of the ids from `least` on."""
    counts = rng.integers(0, 12, count)
    ids = [rng.choice(TERMS, size, replace=False) + least for size in counts]
    weights = rng.random(int(counts.sum()), dtype=np.float32) + np.float32(0.01)
    return SparseRows(
        offsets=np.append(0, np.cumsum(counts)), ids=np.concatenate([*ids, []]).astype(np.int32), weights=weights
    )


def everything(index: PassageIndex, name: str) -> dict[int, Row]:
    found = {}
    for block in index.entries(name):
        found.update(by_id(block))
    return found


def by_id(entries: Entries) -> dict[int, Row]:
    def row(rows: SparseRows, number: int) -> dict[int, float]:
        span = slice(rows.offsets[number], rows.offsets[number + 1])
        return dict(zip(rows.ids[span].tolist(), rows.weights[span].tolist(), strict=True))

    return {
        int(id_): (
            entries.vectors[number].tobytes(),
            row(entries.bm25, number),
            None if entries.learned is None else row(entries.learned, number),
        )
        for number, id_ in enumerate(entries.ids)
    }
