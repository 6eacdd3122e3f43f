"""Verify the records of external passage indexes against recounted values, and the engine's content."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from core.errors import IndexMissing, IndexUnavailable
from core.records import IndexKind, Int64Array
from store.ids import distinct
from store.indexnames import is_name
from store.settings import parse_settings
from store.terms import POSTING
from store.verify.elsewhere import Brought, content_problems, name_of
from store.verify.reading import Finding, Reading

_READ_ROWS = 2_000

_GENERATIONS = """
    SELECT generation.id, dimension, sparse_model IS NOT NULL, collection.id, collection.name, settings
    FROM generation JOIN collection ON collection.id = collection_id WHERE state <> 'retired' ORDER BY generation.id
"""
_RECORDS = "SELECT generation_id, name, seq, removed_to, passages, length FROM passage_index WHERE generation_id = ?"
# Each embedding with the number of passages that have it.
_EMBEDDED = """
    SELECT sparse, (
        SELECT COUNT(*) FROM passage JOIN document ON document.id = document_id
        WHERE passage.sha = embedding.sha AND document.collection_id = :collection
    ) AS passages
    FROM embedding WHERE generation_id = :generation AND passages > 0
"""
_COUNTED = """
    SELECT term_id, term_count.passages FROM term_count JOIN term ON term.id = term_id
    WHERE collection_id = ? AND typeof(term_count.passages) = 'integer' ORDER BY term_id
"""
_SENSELESS = "SELECT term_id FROM term_count WHERE typeof(passages) <> 'integer'"
# The highest seq assigned so far: the log of a generation that is being removed goes before its record does.
_NEWEST = """
    SELECT MAX(COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'change'), 0),
               COALESCE((SELECT MAX(seq) FROM change), 0))
"""
_NOBODYS = """
    SELECT name FROM collection WHERE id IN (SELECT collection_id FROM term_count JOIN term ON term.id = term_id) AND
    id IN (SELECT collection_id FROM generation WHERE state <> 'retired') AND
    id NOT IN (SELECT collection_id FROM generation JOIN passage_index ON passage_index.generation_id = generation.id)
"""


class _Generation(NamedTuple):
    id: int
    dimension: int
    learned: bool
    collection_id: int
    collection: str
    settings: str


class _Record(NamedTuple):
    generation_id: int
    name: str
    seq: int
    removed_to: int
    passages: int
    length: float


def check_passage_index(reading: Reading) -> Iterator[Finding]:
    """Check which generations have an external index, their progress and counts, and what the engine holds."""
    generations = [_Generation(*row) for row in reading.rows(_GENERATIONS)]
    for (term,) in reading.rows(_SENSELESS):
        yield Finding(check="passage index", where=f"the count of term {term}", problem="is no whole number")
    for (name,) in reading.rows(_NOBODYS):
        yield _finding(name, "the terms of its passages are counted, and it is no collection that is held elsewhere")
    held: list[tuple[_Generation, _Record]] = []
    for generation in generations:
        record = next((_Record(*row) for row in reading.rows(_RECORDS, generation.id)), None)
        for problem in _kind_problems(reading, generation, record):
            yield _finding(generation.collection, problem)
        if record is None:
            continue
        for problem in _progress_problems(reading, record):
            yield _finding(generation.collection, problem, elsewhere=True)
        for problem in _count_problems(reading, generation, record):
            yield _finding(generation.collection, problem)
        held.append((generation, record))
        reading.tick("passage indexes", len(held))
    yield from _looked_at(reading, held)


def _looked_at(reading: Reading, held: list[tuple[_Generation, _Record]]) -> Iterator[Finding]:
    """Check the content of the engine."""
    brought = [(generation, record) for generation, record in held if record.seq > 0 and is_name(record.name)]
    if brought and reading.index is None:
        names = ", ".join(repr(generation.collection) for generation, _ in brought)
        reading.unchecked.append(f"what Milvus holds of {names}: nobody said where that is")
        return
    for generation, record in brought:
        assert reading.index is not None
        what = Brought(
            generation_id=generation.id,
            collection=generation.collection,
            dimension=generation.dimension,
            learned=generation.learned,
            name=record.name,
            seq=record.seq,
        )
        try:
            for problem in content_problems(reading, reading.index, what):
                yield _finding(generation.collection, problem, elsewhere=True)
        except IndexMissing:
            reading.renew()
            if name_of(reading, generation.id) == record.name:  # otherwise it is being replicated anew
                yield _finding(generation.collection, "Milvus has lost all of it", elsewhere=True)
        except IndexUnavailable as error:
            reading.unchecked.append(f"what Milvus holds of {generation.collection!r}: {error.message}")


def _kind_problems(reading: Reading, generation: _Generation, record: _Record | None) -> Iterator[str]:
    """Whether the generation has an external index exactly where its settings ask for one."""
    elsewhere = parse_settings(generation.settings).index is IndexKind.MILVUS
    if elsewhere and record is None:
        yield f"generation {generation.id}: has the index milvus, and no row says what Milvus holds of it"
    if not elsewhere and record is not None:
        yield f"generation {generation.id}: a row says what Milvus holds of it, and it has another index"
    statement = "SELECT COUNT(*) FROM segment WHERE generation_id = ?"
    segments = int(next(reading.rows(statement, generation.id))[0])
    if elsewhere and segments:
        yield f"generation {generation.id}: has {segments} segments, and the index milvus"


def _progress_problems(reading: Reading, record: _Record) -> Iterator[str]:
    newest = int(next(reading.rows(_NEWEST))[0])
    for what, seq in (("brought", record.seq), ("removed", record.removed_to)):
        if not 0 <= seq <= newest:
            yield f"passages are {what} up to change {seq}; the newest one is {newest}"
    if not is_name(record.name):
        yield f"its name in Milvus is {record.name!r:.80}, which is none of ours"


def _count_problems(reading: Reading, generation: _Generation, record: _Record) -> Iterator[str]:
    """Recount what every commit counts. Unknown terms and truncated postings are left to the check of embeddings."""
    found = reading.rows("SELECT id FROM term WHERE collection_id = ? ORDER BY id", generation.collection_id)
    terms = np.fromiter((id_ for (id_,) in found), np.int64)
    counts, passages, length = np.zeros(len(terms), np.int64), 0, 0.0
    values = {"collection": generation.collection_id, "generation": generation.id}
    rows = reading.connection.execute(_EMBEDDED, values)
    while chunk := [(blob, number) for blob, number in islice(rows, _READ_ROWS)]:
        passages += sum(number for _, number in chunk)
        whole = [(blob, number) for blob, number in chunk if len(blob) % POSTING.itemsize == 0]
        sizes = [len(blob) // POSTING.itemsize for blob, _ in whole]
        postings = np.frombuffer(b"".join(blob for blob, _ in whole), POSTING)
        numbers = np.repeat(np.array([number for _, number in whole], np.int64), sizes)
        with np.errstate(over="ignore", invalid="ignore"):
            length += float((postings["value"].astype(np.float64) * numbers).sum())
        _add(counts, terms, postings["term"].astype(np.int64), numbers)
    if record.passages != passages:
        yield f"{record.passages} passages are counted; there are {passages}"
    if record.length != length:
        yield f"its passages are counted to have {record.length:g} terms; they have {length:g}"
    counted = np.fromiter(
        (n for row in reading.rows(_COUNTED, generation.collection_id) for n in row), np.int64
    ).reshape(-1, 2)
    expected = np.stack([terms, counts], axis=1)[counts > 0]
    if differing := _differing(counted, expected):
        yield f"the passages of {differing:,} terms are not counted as they are"


def _add(counts: Int64Array, terms: Int64Array, ids: Int64Array, numbers: Int64Array) -> None:
    if len(terms):
        places = np.minimum(np.searchsorted(terms, ids), len(terms) - 1)
        known = terms[places] == ids
        np.add.at(counts, places[known], numbers[known])


def _differing(counted: Int64Array, expected: Int64Array) -> int:
    """Number of terms whose counts differ, given two arrays of (term, count), ascending."""
    ids = distinct(np.concatenate([counted[:, 0], expected[:, 0]]))
    found = np.full((2, len(ids)), -1, np.int64)
    for side, counts in enumerate((counted, expected)):
        found[side, np.searchsorted(ids, counts[:, 0])] = counts[:, 1]
    return int((found[0] != found[1]).sum())


def _finding(collection: str, problem: str, *, elsewhere: bool = False) -> Finding:
    return Finding(
        check="passage index",
        where=f"the passage index of {collection!r}",
        problem=problem,
        collection=collection,
        elsewhere=elsewhere,
    )
