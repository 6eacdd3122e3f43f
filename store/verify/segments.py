"""Verify segments: every bit of their files, and that they hold what the database holds, each passage once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from core.errors import StorageError
from core.records import Int64Array
from store.arrayfile import Array, Seal
from store.database import chunks
from store.directory import SEGMENTS
from store.segments.files import open_apart, segment_problems, strays
from store.segments.rows import SegmentRow
from store.segments.segment import Segment, find, largest_norm
from store.verify.codes import code_problems
from store.verify.postings import StoredPostings, posting_problems
from store.verify.reading import Finding, Reading

_READ_ROWS = 2_000
_ATTEMPTS = 5  # where segments are replaced while they are checked
_NORM_TOLERANCE = 1e-5

_ROWS = """
    SELECT id, generation_id, name, seq, as_of, rows, bytes, sha256 FROM segment
    WHERE generation_id = ? AND state = 'active' ORDER BY id
"""
_ADDED = """
    SELECT passage_id, seq FROM change JOIN passage ON passage.id = passage_id
    WHERE generation_id = ? AND operation = '+' ORDER BY passage_id
"""
_REMOVED = "SELECT passage_id FROM change WHERE generation_id = ? AND operation = '-' AND seq > ?"
_EMBEDDED = """
    SELECT passage.id, document_id, dense, sparse, learned FROM passage JOIN embedding ON embedding.sha = passage.sha
    WHERE generation_id = ? AND passage.id IN (SELECT value FROM json_each(?)) ORDER BY passage.id
"""

_Problem = tuple[SegmentRow | None, str]  # of one segment; None: of all together


class _Generation(NamedTuple):
    id: int
    dimension: int
    collection: str


def check_segments(reading: Reading) -> Iterator[Finding]:
    """Check the active segments of every generation. If they are merged meanwhile, the old files soon disappear."""
    generations = list(
        reading.rows(
            "SELECT generation.id, dimension, name FROM generation JOIN collection ON collection.id = collection_id"
        )
    )
    total, done = int(next(reading.rows("SELECT COUNT(*) FROM segment WHERE state = 'active'"))[0]), 0
    for generation in (_Generation(*row) for row in generations):
        rows, problems = _settled(reading, generation)
        for row, problem in problems:
            where = f"segment {row.name} of" if row is not None else "segments of"
            yield Finding(
                check="segments",
                where=f"{where} {generation.collection!r}",
                problem=problem,
                collection=generation.collection,
                segment=None if row is None else row.name,
            )
        done += len(rows)
        reading.tick("segments", done, max(done, total))
    _note_strays(reading)


def _settled(reading: Reading, generation: _Generation) -> tuple[list[SegmentRow], list[_Problem]]:
    """Check the segments until they stay the same: a file that vanished because others replaced it is no damage."""
    for _ in range(_ATTEMPTS):
        rows = _active(reading, generation.id)
        problems = list(_problems(reading, generation, rows))
        if not problems:
            break
        reading.renew()
        now = _active(reading, generation.id)
        if now == rows:
            break
        problems = [(row, problem) for row, problem in problems if row in now]
    return rows, problems


def _active(reading: Reading, generation_id: int) -> list[SegmentRow]:
    return [
        SegmentRow(
            id=id_,
            generation_id=generation,
            name=name,
            seq=seq,
            as_of=as_of,
            rows=rows,
            seal=Seal(size=size, sha256=sha256),
        )
        for id_, generation, name, seq, as_of, rows, size, sha256 in reading.rows(_ROWS, generation_id)
    ]


def _problems(reading: Reading, generation: _Generation, rows: list[SegmentRow]) -> Iterator[_Problem]:
    if not rows:
        return
    sealed = max(row.seq for row in rows)
    added = np.fromiter((n for row in reading.rows(_ADDED, generation.id) for n in row), np.int64).reshape(-1, 2)
    held, whole = [added[:0, 0]], True
    for row in rows:
        try:
            problems = segment_problems(reading.directory, row)
            opened = None if problems else open_apart(reading.directory, row)
        except StorageError as error:
            problems, opened = [error.message], None
        yield from ((row, problem) for problem in problems)
        if opened is None:
            whole = False
            continue
        segment, scan = opened
        held.append(np.array(segment.ids))
        for problem in _content_problems(reading, generation, row, segment, scan, added):
            yield row, problem
    ids, counts = np.unique(np.concatenate(held), return_counts=True)
    if (counts > 1).any():
        yield None, f"passage {ids[counts > 1][0]} is in more than one ({(counts > 1).sum()} passages in all)"
    missing = np.setdiff1d(added[added[:, 1] <= sealed, 0], ids)
    if whole and len(missing):
        yield None, f"passage {missing[0]} is in none ({len(missing)} passages in all): no search finds it"


def _content_problems(
    reading: Reading,
    generation: _Generation,
    row: SegmentRow,
    segment: Segment,
    scan: Mapping[str, Array],
    added: Int64Array,
) -> Iterator[str]:
    """Problems of an intact file. `added`: (passages, 2) ids of live passages, ascending, and when they were added."""
    rows = len(segment.ids)
    if rows != row.rows or segment.vectors.shape != (rows, generation.dimension) or len(segment.documents) != rows:
        shape = f"{rows} passages and vectors of shape {segment.vectors.shape}"
        yield f"holds {shape}; by the database it is {row.rows} of {generation.dimension} dimensions"
        return
    if not rows or (np.diff(segment.ids) <= 0).any():
        yield "its passages are not in order"
        return
    if not len(added):
        added = np.full((1, 2), -1, dtype=np.int64)
    places, live = find(added[:, 0], np.array(segment.ids))
    late = added[live, 1] > row.seq
    if late.any():
        yield f"holds passage {segment.ids[places[late]][0]}, which came after change {row.seq}"
    gone = np.delete(segment.ids, places)
    removed = np.fromiter((id_ for (id_,) in reading.rows(_REMOVED, generation.id, row.as_of)), np.int64)
    unknown = np.setdiff1d(gone, removed)
    if len(unknown):
        yield f"holds passage {unknown[0]}, which is not there, nor went after change {row.as_of}"
    norm = max(largest_norm(segment.vectors[i : i + _READ_ROWS]) for i in range(0, rows, _READ_ROWS))
    if not abs(segment.largest_norm - norm) <= _NORM_TOLERANCE * norm:
        yield f"says that its longest vector has the length {segment.largest_norm:.6g}; it has {norm:.6g}"
    yield from code_problems(scan, segment.vectors)
    yield from _compared(reading, generation, segment, np.sort(segment.ids[places]))


def _compared(reading: Reading, generation: _Generation, segment: Segment, live: Int64Array) -> Iterator[str]:
    """Compare documents, vectors and postings of the passages `live` (ascending ids) with the database."""
    held = {"terms": segment.postings, "learned weights": segment.learned}
    broken = {what: list(posting_problems(postings, len(segment.ids))) for what, postings in held.items()}
    for what, problems in broken.items():
        yield from (f"its {what} {problem}" for problem in problems)
    stored = {what: StoredPostings(postings) for what, postings in held.items() if not broken[what]}
    wrong: dict[str, list[int]] = {"documents": [], "vectors": [], **{what: [] for what in stored}, "embeddings": []}
    size = 4 * generation.dimension
    for wanted in chunks(live.tolist()):
        found = list(reading.rows(_EMBEDDED, generation.id, f"[{','.join(map(str, wanted))}]"))
        ids = np.fromiter((passage for passage, *_ in found), np.int64, len(found))
        wrong["embeddings"] += np.setdiff1d(np.array(wanted), ids).tolist()
        if not found:
            continue
        _, rows = segment.find(ids)
        documents = np.fromiter((document for _, document, *_ in found), np.int64, len(found))
        wrong["documents"] += ids[segment.documents[rows] != documents].tolist()
        for row, (passage, _, dense, _, _) in zip(rows.tolist(), found, strict=True):
            if len(dense) != size or segment.vectors[row].tobytes() != dense:
                wrong["vectors"].append(passage)
        for place, what in ((3, "terms"), (4, "learned weights")):
            if what in stored:
                wrong[what] += ids[stored[what].differ(rows, [columns[place] or b"" for columns in found])].tolist()
    for what, passages in wrong.items():
        if passages:
            others = f" and {len(passages) - 1:,} more" if len(passages) > 1 else ""
            yield f"the {what} of passage {passages[0]}{others} are not those of the database"


def _note_strays(reading: Reading) -> None:
    named = {name for (name,) in reading.rows("SELECT name FROM segment")}
    files = strays(reading.directory, named)
    if files:
        size = sum(path.stat().st_size for path in files if path.exists())
        reading.notes.append(
            f"{len(files)} files below {SEGMENTS}/ belong to no segment ({size / 2**20:,.1f} MiB): they are being "
            "written, or were left behind and go by and by"
        )
