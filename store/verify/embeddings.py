"""Verify embeddings: checksums, vectors, terms, learned weights; and that every passage has an embedding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from core.records import Int64Array
from store.checksum import row_checksum
from store.ids import belong
from store.terms import FREQUENCY_STEP, POSTING
from store.verify.reading import Finding, Reading

UNIT_TOLERANCE = 1e-3  # of a vector's length; encoders that compute in bfloat16 or int8 normalise in float32
_READ_ROWS = 2_000
_SHOWN = 3  # documents of an embedding that a message names


class _Generation(NamedTuple):
    id: int
    dimension: int
    learned: bool  # whether it has a sparse model
    collection_id: int
    collection: str


class _Row(NamedTuple):
    id: int
    generation_id: int
    checksum: bytes
    sha: bytes
    dense: bytes
    sparse: bytes
    learned: bytes | None


def check_embeddings(reading: Reading) -> Iterator[Finding]:
    """Check the content of all embeddings, and that every passage of a searchable generation has one."""
    generations = {
        row[0]: _Generation(*row)
        for row in reading.rows(
            "SELECT generation.id, dimension, sparse_fingerprint IS NOT NULL, collection.id, name "
            "FROM generation JOIN collection ON collection.id = collection_id"
        )
    }
    terms = {
        generation.collection_id: _term_ids(reading, generation.collection_id) for generation in generations.values()
    }
    total, done = reading.count("embedding"), 0
    rows = reading.rows("SELECT id, generation_id, checksum, sha, dense, sparse, learned FROM embedding ORDER BY id")
    while chunk := [_Row(*row) for row in islice(rows, _READ_ROWS)]:
        intact = []
        for row in chunk:
            if row.generation_id not in generations:
                continue  # refers to a missing row, which the check of the file reports
            if row_checksum(row.sha, row.dense, row.sparse, row.learned) == row.checksum:
                intact.append(row)
            else:
                yield _finding(reading, generations, row, "its vector, terms or weights are not what was written")
        for generation in {row.generation_id: generations[row.generation_id] for row in intact}.values():
            own = [row for row in intact if row.generation_id == generation.id]
            for row, problem in _problems(own, generation, terms[generation.collection_id]):
                yield _finding(reading, generations, row, problem)
        done += len(chunk)
        reading.tick("embeddings", done, total)
    yield from _missing(reading)


def _problems(rows: Sequence[_Row], generation: _Generation, terms: Int64Array) -> Iterator[tuple[_Row, str]]:
    """The problems of rows of one generation."""
    fitting = []
    for row in rows:
        if len(row.dense) == 4 * generation.dimension:
            fitting.append(row)
        else:
            yield row, f"its vector has {len(row.dense)} bytes; {generation.dimension} dimensions take 4 each"
        if (row.learned is not None) != bool(generation.learned):
            yield row, "has learned weights, or lacks them, against the rest of its generation"
    if fitting:
        vectors = np.frombuffer(b"".join(row.dense for row in fitting), "<f4").reshape(len(fitting), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
            off = np.flatnonzero(~(np.abs(norms - 1) <= UNIT_TOLERANCE))
        for place in off:
            yield fitting[place], f"its vector has the length {norms[place]:.6g}; it must be 1"
    yield from _posting_problems(rows, [row.sparse for row in rows], terms)
    learned = [row for row in rows if row.learned is not None]
    yield from _posting_problems(learned, [row.learned or b"" for row in learned], None)


def _posting_problems(
    rows: Sequence[_Row], blobs: Sequence[bytes], terms: Int64Array | None
) -> Iterator[tuple[_Row, str]]:
    """`terms`: the collection's term ids, ascending, for frequencies; None: learned weights of vocabulary ids."""
    what = "learned weights" if terms is None else "terms"
    whole = [place for place, blob in enumerate(blobs) if len(blob) % POSTING.itemsize == 0]
    for place in sorted(set(range(len(blobs))) - set(whole)):
        yield rows[place], f"its {what} take {len(blobs[place])} bytes, which are no whole postings"
    postings = np.frombuffer(b"".join(blobs[place] for place in whole), POSTING)
    owners = np.repeat(np.array(whole, np.int64), [len(blobs[place]) // POSTING.itemsize for place in whole])
    ids, values = postings["term"], postings["value"]
    follows = np.concatenate([np.zeros(min(1, len(owners)), bool), owners[1:] == owners[:-1]])
    unordered = follows & (np.diff(ids.astype(np.int64), prepend=0) <= 0)
    with np.errstate(invalid="ignore"):
        impossible = ~(np.isfinite(values) & (values > 0))
        if terms is not None:
            impossible |= values % FREQUENCY_STEP != 0
    unknown = ids < 0 if terms is None else ~belong(ids.astype(np.int64), terms)
    for wrong, problem in (
        (unordered, f"its {what} are not in order"),
        (impossible, f"its {what} have a weight that cannot be"),
        (unknown, f"its {what} have an id that the collection does not know"),
    ):
        for place in np.unique(owners[wrong]):
            yield rows[place], problem


def _missing(reading: Reading) -> Iterator[Finding]:
    statement = (
        "SELECT passage.id, external_id, collection.name FROM passage JOIN document ON document.id = document_id "
        "JOIN collection ON collection.id = document.collection_id JOIN generation "
        "ON generation.collection_id = collection.id AND generation.state = 'active' "
        "WHERE NOT EXISTS (SELECT 1 FROM embedding WHERE generation_id = generation.id AND sha = passage.sha)"
    )
    for passage, document, name in reading.rows(statement):
        where = f"passage {passage} of document {document!r:.140} of {name!r}"
        yield Finding(
            check="embeddings",
            where=where,
            problem="has no embedding: no search finds it",
            collection=name,
            documents=(document,),
        )


def _finding(reading: Reading, generations: dict[int, _Generation], row: _Row, problem: str) -> Finding:
    """A finding that names the documents which share the embedding: they have to be added again."""
    generation = generations[row.generation_id]
    found = reading.rows(
        "SELECT DISTINCT external_id FROM passage JOIN document ON document.id = document_id "
        "WHERE sha = ? AND collection_id = ?",
        row.sha,
        generation.collection_id,
    )
    documents = tuple(name for (name,) in found)
    shown = ", ".join(f"{name!r:.140}" for name in documents[:_SHOWN]) or "no document"
    return Finding(
        check="embeddings",
        where=f"embedding {row.id} of {generation.collection!r}, of {shown}",
        problem=problem,
        collection=generation.collection,
        documents=documents,
        embedding=row.id,
    )


def _term_ids(reading: Reading, collection_id: int) -> Int64Array:
    found = reading.rows("SELECT id FROM term WHERE collection_id = ? ORDER BY id", collection_id)
    ids = np.fromiter((id_ for (id_,) in found), np.int64)
    reading.checked["terms"] = reading.checked.get("terms", 0) + len(ids)
    return ids
