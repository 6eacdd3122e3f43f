"""Learned sparse weights: stored beside the vectors, and scored by an exact dot product."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping

import numpy as np
import pytest
import sqlalchemy as sa

from core.errors import InvalidSettings, ModelError, ModelMismatch
from core.records import Collection, CollectionSettings, SparseScoring, SparseVector
from store import Batch, Database, Embedding, View, Views, catalog, schema
from store.commit import commit
from store.segments.tiers import FAN_OUT
from store.snapshot import load
from tests.store.learned_library import IDS, SPARSE_FINGERPRINT, batch_of, create_learned, oracle, put_learned, vector
from tests.store.library import DIMENSION, FINGERPRINT, WORDS, Item, Place, create, embeddings_of, put, vector_of


def places(view: View, ids: np.ndarray) -> dict[Place, int]:
    return {(hit.document_id, hit.passage.start): hit.id for hit in view.fetch(ids)}


def check(view: View, items: Mapping[str, Item], chance: random.Random) -> None:
    ids = places(view, view.nearest(np.zeros(DIMENSION, np.float32), 10_000).ids)
    query = {IDS[word]: chance.choice([0.25, 1.0, 3.0]) for word in chance.sample(WORDS, 3)} | {999: 1.0}
    expected = sorted(
        ((ids[place], score) for place, score in oracle(items.values(), query).items()),
        key=lambda entry: (-entry[1], entry[0]),
    )
    allowed = np.array(sorted(id_ for id_ in ids.values() if chance.random() < 0.5), np.int64)
    among = [(id_, score) for id_, score in expected if id_ in set(allowed.tolist())]
    for k in (1, 3, 1000):
        for chosen, ranked in ((None, expected), (allowed, among)):
            pool = view.matching_learned(vector(query), k, chosen)
            assert list(zip(pool.ids.tolist(), pool.scores.tolist(), strict=True)) == ranked[:k]
    everything = np.array(sorted(ids.values()), np.int64)
    tokens = vector(query)
    table = view.learned_weights(tokens.ids, everything)
    scores = dict(expected)
    assert (table @ tokens.weights.astype(np.float64)).tolist() == [scores.get(id_, 0.0) for id_ in everything.tolist()]


def test_searches_through_a_long_history_equal_the_oracle_and_a_fresh_load(database: Database, views: Views) -> None:
    collection = create_learned(database)
    chance = random.Random(3)
    items: dict[str, Item] = {}
    deepest = 0
    for _ in range(40):
        new = [
            Item(
                id=str(chance.randrange(50)),
                text="\n".join(" ".join(chance.choices(WORDS, k=chance.randint(0, 6))) for _ in range(2)),
            )
            for _ in range(chance.randint(0, 8))
        ]
        gone = chance.sample(sorted(items), min(len(items), chance.randint(0, 4)))
        put_learned(database, collection, *new, delete=gone)
        items |= {item.id: item for item in new}
        for id_ in gone:
            items.pop(id_, None)
        with views.open("learned") as view:
            check(view, items, chance)
            deepest = max(deepest, len(view._snapshot.parts))
    assert 1 < deepest < 2 * FAN_OUT
    with database.read() as session:
        check(View(session, load(session, collection)), items, chance)


def test_the_blob_is_pairs_of_id_and_weight_ascending(database: Database) -> None:
    collection = create_learned(database)
    put_learned(database, collection, Item(id="1", text="sea whale sea"))
    with database.read() as session:
        row = session.execute(sa.select(schema.embedding.c.learned, schema.embedding.c.sparse)).one()
    assert row.learned == struct.pack("<ifif", IDS["whale"], 1.5, IDS["sea"], 2.5)
    assert len(row.sparse) == 16


def test_in_place_of_bm25_no_terms_are_kept(database: Database, views: Views) -> None:
    collection = create_learned(database, scoring=SparseScoring.LEARNED)
    item = Item(id="1", text="sea whale")
    batch = batch_of(collection, [item])
    without = {sha: Embedding(vector=e.vector, terms={}, learned=e.learned) for sha, e in batch.embeddings.items()}
    with database.write() as session:
        commit(session, Batch(**{**{f: getattr(batch, f) for f in Batch.__slots__}, "embeddings": without}))
    with views.open("learned") as view:
        assert len(view.matching({"sea": 1.0}, 10).ids) == 0
        assert view.matching_learned(vector({IDS["sea"]: 2.0}), 10).scores.tolist() == [3.0]
        assert view.generation.sparse_model == "splade"


def test_a_text_without_any_weight_matches_nothing(database: Database, views: Views) -> None:
    put_learned(database, create_learned(database), Item(id="1", text=""), Item(id="2", text="leg"))
    with views.open("learned") as view:
        assert len(view.matching_learned(vector({}), 10).ids) == 0
        assert len(view.matching_learned(vector({IDS["leg"]: 1.0}), 10).ids) == 1
        assert view.passage_count == 2


def test_a_collection_without_a_sparse_model_has_no_weights(
    database: Database, collection: Collection, views: Views
) -> None:
    put(database, collection, Item(id="1", text="sea whale"))
    with views.open(collection.name) as view:
        pool = view.matching_learned(vector({0: 1.0, IDS["sea"]: 1.0}), 10)
        assert len(pool.ids) == 0
        assert view.learned_weights(np.array([0, 14], np.int32), view.nearest(vector_of("x"), 1).ids).tolist() == [
            [0, 0]
        ]
    with database.read() as session:
        assert session.execute(sa.select(schema.embedding.c.learned)).scalars().all() == [None]


@pytest.mark.parametrize("fingerprint", [None, "another"])
def test_weights_of_another_sparse_model_are_refused(fingerprint: str | None, database: Database) -> None:
    collection = create_learned(database)
    embeddings = embeddings_of([Item(id="1", text="sea")])
    batch = Batch(collection=collection, fingerprint=FINGERPRINT, sparse_fingerprint=fingerprint, embeddings=embeddings)
    message = "learned weights of the collection 'learned' are those of splade"
    with pytest.raises(ModelMismatch, match=message), database.write() as session:
        commit(session, batch)


def test_weights_without_a_sparse_model_and_passages_without_weights_are_refused(database: Database) -> None:
    plain, learned = create(database), create_learned(database)
    one, other = batch_of(plain, [Item(id="1", text="sea")]), embeddings_of([Item(id="1", text="sea")])
    for batch in (
        Batch(collection=plain, fingerprint=FINGERPRINT, embeddings=one.embeddings),
        Batch(collection=learned, fingerprint=FINGERPRINT, sparse_fingerprint=SPARSE_FINGERPRINT, embeddings=other),
    ):
        with pytest.raises(ModelMismatch, match="for all of its passages or for none"), database.write() as session:
            commit(session, batch)


@pytest.mark.parametrize(
    ("ids", "weights"),
    [([3, 3], [1, 1]), ([3, 2], [1, 1]), ([-1], [1]), ([1], [0]), ([1], [-2]), ([1], [np.nan]), ([1, 2], [1])],
)
def test_vectors_that_cannot_be_are_refused(ids: list[int], weights: list[float], database: Database) -> None:
    bad = SparseVector(ids=np.array(ids, np.int32), weights=np.array(weights, np.float32))
    batch = Batch(
        collection=create_learned(database),
        fingerprint=FINGERPRINT,
        sparse_fingerprint=SPARSE_FINGERPRINT,
        embeddings={b"x": Embedding(vector=vector_of("x"), terms={}, learned=bad)},
    )
    with pytest.raises(ModelError, match="sparse model made weights"), database.write() as session:
        commit(session, batch)


def test_a_sparse_model_goes_with_the_settings_that_ask_for_it(database: Database) -> None:
    for scoring, model, said in (
        (SparseScoring.BM25, "splade", "takes no model"),
        (SparseScoring.BOTH, None, "name the sparse model"),
    ):
        with pytest.raises(InvalidSettings, match=said), database.write() as session:
            catalog.create_collection(
                session,
                "x",
                CollectionSettings(sparse=scoring),
                model="m",
                fingerprint="f",
                dimension=2,
                sparse_model=model,
            )
