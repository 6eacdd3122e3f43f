"""Verify the content of an external engine: each replicated passage must be there as the database has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from core.records import Int64Array
from store.database import chunks
from store.passageindex.protocol import Entries, PassageIndex, SparseRows
from store.terms import POSTING
from store.verify.reading import Reading

_WHAT = "passages in Milvus"
_BROUGHT = """
    SELECT passage_id FROM change JOIN passage ON passage.id = passage_id
    WHERE generation_id = ? AND operation = '+' AND seq <= ? ORDER BY passage_id
"""
_PRESENT = "SELECT id FROM passage WHERE id IN (SELECT value FROM json_each(?))"
_EMBEDDED = """
    SELECT passage.id, dense, sparse, learned FROM passage JOIN embedding ON embedding.sha = passage.sha
    WHERE generation_id = ? AND passage.id IN (SELECT value FROM json_each(?))
"""


class Brought(NamedTuple):
    """What the engine should hold of a generation, and under which name."""

    generation_id: int
    collection: str
    dimension: int
    learned: bool
    name: str
    seq: int  # replicated up to this change


def content_problems(reading: Reading, index: PassageIndex, brought: Brought) -> Iterator[str]:
    """What the engine lacks, and what differs. Surplus passages are only noted, as no search shows them.

    Weights of terms depend on the average passage length at the time of their replication, so only the sets of terms
    are compared. Raises IndexUnavailable, IndexMissing.
    """
    found = reading.rows(_BROUGHT, brought.generation_id, brought.seq)
    expected = np.fromiter((id_ for (id_,) in found), np.int64)
    wrong: dict[str, list[int]] = {"vector": [], "terms": [], "learned weights": []}
    seen, total, before = [expected[:0]], len(expected), reading.checked.get(_WHAT, 0)
    for entries in index.entries(brought.name):
        reading.renew()  # reading all entries may take long, and an old read transaction would hold up checkpoints
        if entries.vectors.shape != (len(entries.ids), brought.dimension):
            yield f"Milvus holds vectors of shape {entries.vectors.shape}; they have {brought.dimension} dimensions"
            return
        for rows in chunks(range(len(entries.ids))):
            _compare(reading, brought, entries, rows, wrong)
        seen.append(entries.ids)
        reading.tick(_WHAT, before + sum(map(len, seen)), before + total)
    ids, counts = np.unique(np.concatenate(seen), return_counts=True)
    reading.renew()  # passages removed meanwhile may be gone from the engine
    if name_of(reading, brought.generation_id) != brought.name:
        return  # it is being replicated anew
    missing = _present(reading, np.setdiff1d(expected, ids, assume_unique=True))
    if len(missing):
        yield f"Milvus lacks passage {missing[0]}{_others(len(missing))}: searches miss them"
    if (counts > 1).any():
        yield f"Milvus holds passage {ids[counts > 1][0]} more than once{_others(int((counts > 1).sum()))}"
    for what, passages in wrong.items():
        present = _present(reading, np.array(passages, np.int64))
        if len(present):
            yield f"the {what} that Milvus holds of passage {present[0]}{_others(len(present))} are not the database's"
    surplus = len(ids) - len(_present(reading, ids))
    if surplus:
        reading.notes.append(
            f"passages of {brought.collection!r} that are gone, and still in Milvus: {surplus:,}; no search shows "
            "them, and they go by and by"
        )


def name_of(reading: Reading, generation_id: int) -> str | None:
    """The generation's name in the engine; None: it has no external index."""
    rows = reading.rows("SELECT name FROM passage_index WHERE generation_id = ?", generation_id)
    return next((str(name) for (name,) in rows), None)


def _compare(
    reading: Reading, brought: Brought, entries: Entries, rows: list[int], wrong: dict[str, list[int]]
) -> None:
    """Add to `wrong` the passages among `rows` whose content differs from the database's."""
    wanted = entries.ids[rows].tolist()
    stored = {row[0]: row[1:] for row in reading.rows(_EMBEDDED, brought.generation_id, _json(wanted))}
    for row, passage in zip(rows, wanted, strict=True):
        if passage not in stored:
            continue
        dense, sparse, learned = stored[passage]
        if entries.vectors[row].astype("<f4").tobytes() != dense:
            wrong["vector"].append(passage)
        terms, weights = _row(entries.bm25, row)
        if not (np.array_equal(terms, _postings(sparse)["term"]) and (weights > 0).all()):
            wrong["terms"].append(passage)
        if not _same_weights(entries.learned, row, learned if brought.learned else None):
            wrong["learned weights"].append(passage)


def _same_weights(rows: SparseRows | None, row: int, blob: bytes | None) -> bool:
    if rows is None or blob is None:
        return rows is None and blob is None
    (ids, weights), postings = _row(rows, row), _postings(blob)
    return np.array_equal(ids, postings["term"]) and np.array_equal(weights, postings["value"])


def _row(rows: SparseRows, row: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """(entries,) ids, ascending, and (entries,) weights."""
    span = slice(int(rows.offsets[row]), int(rows.offsets[row + 1]))
    order = np.argsort(rows.ids[span])
    return rows.ids[span][order], rows.weights[span][order]


def _postings(blob: bytes) -> npt.NDArray[np.void]:
    """The postings in a blob; none if it is truncated, which the check of the embeddings reports."""
    return np.frombuffer(blob if len(blob) % POSTING.itemsize == 0 else b"", POSTING)


def _present(reading: Reading, ids: Int64Array) -> Int64Array:
    """Those of `ids` that exist, ascending."""
    found = [id_ for chunk in chunks(ids.tolist()) for (id_,) in reading.rows(_PRESENT, _json(chunk))]
    return np.sort(np.array(found, np.int64))


def _json(ids: list[int]) -> str:
    return f"[{','.join(map(str, ids))}]"


def _others(count: int) -> str:
    return f" and {count - 1:,} more" if count > 1 else ""
