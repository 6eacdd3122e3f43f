"""Collections in several segments: what a view says of them, and that it is what the plain passages say."""

from __future__ import annotations

import numpy as np
import sqlalchemy as sa

from core.records import Collection, SparseVector
from store import Database, View, Views, catalog, schema
from store.directory import SEGMENTS
from store.segments import sealing
from store.segments.files import open_segment, segment_problems
from store.segments.rows import SegmentRow, active_segments
from store.snapshot import Snapshot, load
from tests.store.learned_library import IDS
from tests.store.library import DIMENSION, WORDS, Item, put


def segmented(database: Database, collection: Collection, segments: int = 3) -> Views:
    """Four passages in each of some segments, two in the tail; and views that have seen them."""
    for number in range(segments):
        put(database, collection, *(Item(id=f"{number}-{i}", text=f"whale {i} of {number}") for i in range(4)))
        assert sealing.seal(database, collection.active.id)
    put(database, collection, Item(id="tail", text="ship\nsea"))
    views = Views(database)
    check(views, database, collection)
    return views


def answers(view: View) -> list[object]:
    """All that a view says of the passages, bit by bit."""
    chance = np.random.default_rng(view.seq)
    found: list[object] = [view.seq, view.passage_count, view.term_statistics(WORDS), view.languages]
    token_ids = np.array(sorted(IDS.values()), np.int32)
    query = chance.normal(size=DIMENSION).astype(np.float32)
    factors = {word: float(chance.uniform(0.1, 3)) for word in WORDS}
    learned = SparseVector(ids=token_ids, weights=chance.uniform(0.1, 1, len(token_ids)).astype(np.float32))
    everything = np.sort(view.nearest(query, 100_000).ids)
    some = everything[chance.random(len(everything)) < 0.5]
    for k in (1, 4, 100_000):
        for allowed in (None, some):
            pools = (
                view.nearest(query, k, allowed),
                view.matching(factors, k, allowed),
                view.matching_learned(learned, k, allowed),
            )
            found += [(pool.ids.tolist(), pool.scores.tobytes()) for pool in pools]
    found += [view.documents_of(everything).tolist(), view.vectors(everything).tobytes()]
    found += [view.dense_scores(query, everything).tobytes(), view.sparse_products(WORDS, everything).tobytes()]
    found += [view.learned_weights(token_ids, everything).tobytes(), view.fetch(everything)]
    return found


def plain(database: Database, collection: Collection) -> list[object]:
    """The answers of one segment in memory, which never was in a file."""
    with database.read() as session:
        snapshot = load(session, collection)
        assert all(part.sealed is None for part in snapshot.parts)
        return answers(View(session, snapshot))


def check(views: Views, database: Database, collection: Collection) -> Snapshot:
    """Both a view that went through it all and a new one answer as plain passages do."""
    expected = plain(database, collection)
    for opener in (views, Views(database)):
        with opener.open(collection.name) as view:
            assert answers(view) == expected
            snapshot = view._snapshot
            sealed = sorted(part.sealed for part in snapshot.parts if part.sealed is not None)
            assert set(sealed) <= {row.id for row in rows_of(database, collection)}, "an old segment is still searched"
    return snapshot


def check_fresh(view: View) -> None:
    """The view's answers are those of its own state, read anew into memory."""
    assert answers(view) == answers(View(view._session, load(view._session, view.collection)))


def check_files(database: Database) -> None:
    """Every file is sound, and holds what its row says: its live passages, and no other segment's."""
    with database.read() as session:
        collections = catalog.list_collections(session)
    for collection in collections:
        held: list[int] = []
        for row in rows_of(database, collection):
            assert segment_problems(database.directory, row) == []
            opened = open_segment(database.directory, row)
            assert (len(opened.ids), bool((np.diff(opened.ids) > 0).all())) == (row.rows, True)
            held += opened.ids.tolist()
        assert len(set(held)) == len(held)


def rows_of(database: Database, collection: Collection) -> list[SegmentRow]:
    with database.read() as session:
        return active_segments(session, collection.active.id)


def files_of(database: Database) -> set[str]:
    directory = database.directory / SEGMENTS
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def table_of(database: Database) -> list[sa.Row[tuple[object, ...]]]:
    with database.read() as session:
        return list(session.execute(sa.select(schema.segment).order_by(schema.segment.c.id)).all())
