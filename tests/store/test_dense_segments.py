"""The dense index in sealed files: written, opened, merged, as the collection's settings ask for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from core.records import Collection, CollectionSettings, Float32Array, IndexKind
from store import Batch, Database, Draft, Embedding, Views, catalog, dense, fastscan
from store.commit import commit
from store.directory import SEGMENTS
from store.segments import sealing
from store.segments.files import open_segment, segment_problems
from store.segments.rows import SegmentRow, active_segments
from store.settings import parse_settings
from tests.store.library import FINGERPRINT, Item, draft_of, sha_of
from tests.store.test_dense import vectors_of

ROWS = 1_200


def made(database: Database, kind: IndexKind) -> Collection:
    with database.write() as session:
        settings, model = CollectionSettings(index=kind), {"model": "m", "fingerprint": FINGERPRINT, "dimension": 64}
        return catalog.create_collection(session, kind.value, settings, **model)  # type: ignore[arg-type]


def put(database: Database, collection: Collection, vectors: Float32Array, first: int) -> None:
    items = [Item(id=str(first + i), text=f"line {first + i}") for i in range(len(vectors))]
    drafts: tuple[Draft, ...] = tuple(map(draft_of, items))
    embeddings = {
        sha_of(item.text): Embedding(vector=vector, terms={"line": 1})
        for item, vector in zip(items, vectors, strict=True)
    }
    with database.write() as session:
        commit(session, Batch(collection=collection, fingerprint=FINGERPRINT, drafts=drafts, embeddings=embeddings))


def delete(database: Database, collection: Collection, numbers: Sequence[int]) -> None:
    with database.write() as session:
        gone = tuple(map(str, numbers))
        commit(session, Batch(collection=collection, fingerprint=FINGERPRINT, drafts=(), embeddings={}, deletions=gone))


def sealed(database: Database, collection: Collection) -> list[SegmentRow]:
    with database.read() as session:
        return active_segments(session, collection.active.id)


@pytest.mark.parametrize("kind", list(IndexKind))
def test_sealed_merged_and_searched(database: Database, kind: IndexKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "EXACT_PASSAGES", 0)
    monkeypatch.setattr(dense, "EXACT_MATCHES", 0)
    monkeypatch.setattr(dense, "_MORE", 40)
    monkeypatch.setattr(dense, "_MORE_FILTERED", 40)
    monkeypatch.setattr(fastscan, "LISTED_ROWS", 2 * ROWS - 100)  # the merged one has lists
    collection, vectors = made(database, kind), vectors_of(2 * ROWS + 300, 1)
    put(database, collection, vectors[:ROWS], 0)
    sealing.seal(database, collection.active.id)
    put(database, collection, vectors[ROWS : 2 * ROWS], ROWS)
    sealing.seal(database, collection.active.id)
    delete(database, collection, range(0, 90, 3))
    put(database, collection, vectors[2 * ROWS :], 2 * ROWS)
    live = np.setdiff1d(np.arange(len(vectors)), np.arange(0, 90, 3))

    def recall() -> float:
        shares = []
        with Views(database).open(kind.value) as view:
            everything = np.sort(view.nearest(vectors[0], len(vectors)).ids)
            assert len(everything) == len(live)  # ids rise with the documents' numbers
            for number, query in enumerate(vectors_of(20, 5)):
                some = live[:: 2 + number % 3] if number % 2 else live
                allowed = everything[np.isin(live, some)] if number % 2 else None
                exact = vectors[some].astype(np.float64) @ query
                best = some[np.argsort(-exact)[:10]]
                pool = view.nearest(query, 10, allowed)
                found = live[np.searchsorted(everything, pool.ids)]
                assert pool.scores == pytest.approx(vectors[found].astype(np.float64) @ query, abs=1e-12)
                shares.append(len(np.intersect1d(found, best)) / 10)
        return float(np.mean(shares))

    least = 1.0 if kind is IndexKind.EXACT else 0.98
    rows = sealed(database, collection)
    scans = [open_segment(database.directory, row).scan for row in rows]
    assert [scan is None for scan in scans] == [kind is IndexKind.EXACT] * 2
    assert [scan is not None and scan.graph is not None for scan in scans] == [kind is IndexKind.HNSW] * 2
    assert recall() >= least
    assert sealing.merge(database, collection.active.id, [row.id for row in rows])
    (row,) = sealed(database, collection)
    segment = open_segment(database.directory, row, thorough=True)
    assert segment_problems(database.directory, row) == []
    if segment.scan is not None:
        before = np.concatenate([scan.codes for scan in scans if scan is not None])
        assert (segment.scan.codes == np.delete(before, np.arange(0, 90, 3), axis=0)).all()
    content = (database.directory / SEGMENTS / row.name).read_bytes()
    assert (b'"scan.lists"' in content) == (kind is not IndexKind.EXACT)
    assert recall() >= least


def test_settings_of_older_collections_mean_auto() -> None:
    stored = '{"language": "auto", "fields": {}}'
    assert parse_settings(stored).index is IndexKind.AUTO
    with pytest.raises(ValueError, match="ivf"):
        parse_settings('{"fields": {}, "index": "ivf"}')
