"""The two legs against slow, obvious ones, through everything that documents go through."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CollectionNotFound, HitNotFound, InvalidControl, ModelMismatch
from core.records import Collection, CollectionSettings, Float32Array, Int64Array, Scoring
from store import Batch, Database, Draft, Embedding, Pool, View, Views, catalog, dense
from store.commit import commit
from store.segments.tiers import FAN_OUT
from store.snapshot import load
from tests.store.library import (
    DIMENSION,
    FINGERPRINT,
    WORDS,
    Item,
    Place,
    create,
    dense_oracle,
    draft_of,
    put,
    random_item,
    sha_of,
    sparse_oracle,
    vector_of,
)


def places(view: View, ids: Int64Array) -> list[Place]:
    return [(hit.document_id, hit.passage.start) for hit in view.fetch(ids)]


def everything(view: View, items: Mapping[str, Item]) -> dict[Place, int]:
    """The id of every passage."""
    ids = view.nearest(np.zeros(DIMENSION, np.float32), 10_000).ids
    found = dict(zip(places(view, ids), ids.tolist(), strict=True))
    assert sorted(found) == sorted((item.id, start) for item in items.values() for start, _ in item.lines())
    return found


def expected(scores: Mapping[Place, float], ids: Mapping[Place, int], k: int) -> list[tuple[int, float]]:
    ranked = sorted(((ids[place], score) for place, score in scores.items()), key=lambda entry: (-entry[1], entry[0]))
    return ranked[:k]


def check(pool: Pool, ranked: list[tuple[int, float]]) -> None:
    assert pool.scores.tolist() == pytest.approx([score for _, score in ranked], rel=1e-6, abs=1e-9)
    # Scores that differ by rounding alone may change places: ids are compared where the oracle sees a gap, or a tie.
    rounded = [(round(score, 9), id_) for id_, score in ranked]
    if len({score for score, _ in rounded}) == len({score for _, score in ranked}):
        assert pool.ids.tolist() == [id_ for id_, _ in ranked]


def check_view(view: View, items: Mapping[str, Item], chance: random.Random) -> None:
    ids = everything(view, items)
    assert view.passage_count == len(ids)
    query = vector_of(str(chance.random()))
    factors = {word: chance.choice([0, 0.5, 1, 7]) for word in [*chance.sample(WORDS, 3), "unknown"]}
    all_dense, all_sparse = dense_oracle(items.values(), query), sparse_oracle(items.values(), factors)
    allowed = np.array(sorted(id_ for id_ in ids.values() if chance.random() < 0.5), np.int64)
    among = {place for place, id_ in ids.items() if id_ in set(allowed.tolist())}
    for k in (1, 3, 1000):
        check(view.nearest(query, k), expected(all_dense, ids, k))
        check(view.matching(factors, k), expected(all_sparse, ids, k))
        check(view.nearest(query, k, allowed), expected({p: all_dense[p] for p in among}, ids, k))
        check(view.matching(factors, k, allowed), expected({p: all_sparse[p] for p in among & {*all_sparse}}, ids, k))
    check_scores(view, ids, query, factors, all_dense, all_sparse)


def check_scores(
    view: View,
    ids: Mapping[Place, int],
    query: Float32Array,
    factors: Mapping[str, float],
    all_dense: Mapping[Place, float],
    all_sparse: Mapping[Place, float],
) -> None:
    order = np.array(list(ids.values()), np.int64)
    assert view.dense_scores(query, order).tolist() == [all_dense[place] for place in ids]
    products = view.sparse_products(list(factors), order) * np.array(list(factors.values()))
    assert products.sum(axis=1) == pytest.approx([all_sparse.get(place, 0.0) for place in ids], rel=1e-6)
    pool = view.matching(factors, 1000)
    again = view.sparse_products(list(factors), pool.ids) @ np.array(list(factors.values()))
    assert again == pytest.approx(pool.scores, rel=1e-12)


def test_searches_through_a_long_history_equal_the_oracle_and_a_fresh_load(
    database: Database, collection: Collection, views: Views
) -> None:
    chance = random.Random(1)
    items: dict[str, Item] = {}
    deepest = 0
    for _ in range(60):
        new = [random_item(chance, str(chance.randrange(60))) for _ in range(chance.randint(0, 8))]
        gone = chance.sample(sorted(items), min(len(items), chance.randint(0, 5)))
        put(database, collection, *new, delete=gone)
        items |= {item.id: item for item in new}
        for id_ in gone:
            items.pop(id_, None)
        with views.open("books") as view:
            check_view(view, items, chance)
            deepest = max(deepest, len(view._snapshot.parts))
            assert len(view._snapshot.parts) < FAN_OUT
            check_same_as_fresh(view, database)
    assert deepest > 1


def check_same_as_fresh(view: View, database: Database) -> None:
    query = np.random.default_rng(0).normal(size=DIMENSION).astype(np.float32)
    factors = {word: 1 / (i + 3) for i, word in enumerate(WORDS)}
    with Views(database).open("books") as fresh:
        assert len(fresh._snapshot.parts) <= 1
        assert fresh.seq == view.seq
        for k in (5, 1000):
            one, other = view.nearest(query, k), fresh.nearest(query, k)
            assert one.ids.tolist() == other.ids.tolist()
            assert one.scores.tobytes() == other.scores.tobytes()
            one, other = view.matching(factors, k), fresh.matching(factors, k)
            assert one.ids.tolist() == other.ids.tolist()
            assert one.scores.tobytes() == other.scores.tobytes()
        ids = one.ids
        assert view.dense_scores(query, ids).tobytes() == fresh.dense_scores(query, ids).tobytes()
        assert view.sparse_products(WORDS, ids).tobytes() == fresh.sparse_products(WORDS, ids).tobytes()
        assert view.vectors(ids).tobytes() == fresh.vectors(ids).tobytes()
        assert view.documents_of(ids).tolist() == fresh.documents_of(ids).tolist()
        assert view.term_statistics(WORDS) == fresh.term_statistics(WORDS)


def test_a_removed_and_a_metadata_only_change_advance_the_snapshot(
    database: Database, collection: Collection, views: Views
) -> None:
    seqs = []
    for item, gone in (
        (Item(id="a", text="whale"), []),
        (Item(id="a", text="whale", metadata={"n": 1}), []),
        (Item(id="b", text="ship"), ["a"]),
        (Item(id="b", text="ship"), ["b"]),
    ):
        receipt = put(database, collection, item, delete=gone)
        with views.open("books") as view:
            assert view.seq == receipt.seq
        seqs.append(receipt.seq)
    assert seqs == sorted(set(seqs))
    with views.open("books") as view:
        assert view.passage_count == 0
        assert view._snapshot.parts == ()


def test_an_empty_collection_answers_with_nothing(collection: Collection, views: Views) -> None:
    with views.open("books") as view:
        assert (view.passage_count, view.seq, view.languages) == (0, 0, ())
        assert len(view.nearest(vector_of("x"), 5).ids) == 0
        assert len(view.matching({"x": 1}, 5).ids) == 0
        none = np.empty(0, np.int64)
        assert view.dense_scores(vector_of("x"), none).shape == (0,)
        assert view.sparse_products(["x", "y"], none).shape == (0, 2)
        assert view.vectors(none).shape == (0, DIMENSION)
        assert view.fetch(none) == []
        assert view.term_statistics(["x"]).idf == {"x": 0.0}


def test_statistics_are_those_of_the_live_passages(database: Database, collection: Collection, views: Views) -> None:
    put(database, collection, Item(id="a", text="sea sea ship"), Item(id="b", text="sea"), Item(id="c", text="leg"))
    with views.open("books"):
        pass
    put(database, collection, delete=["b"])
    with views.open("books") as view:
        statistics = view.term_statistics(["sea", "leg", "harpoon", "\ud800"])
        assert (statistics.passages, statistics.average_length) == (2, 2.0)
        assert statistics.df == {"sea": 1, "leg": 1, "harpoon": 0, "\ud800": 0}
        assert statistics.idf["sea"] == pytest.approx(np.log(1 + 1.5 / 1.5))
        assert statistics.idf["harpoon"] == 0


def test_a_factor_of_0_does_not_match(database: Database, collection: Collection, views: Views) -> None:
    put(database, collection, Item(id="a", text="sea"), Item(id="b", text="ship"))
    with views.open("books") as view:
        assert places(view, view.matching({"sea": 0, "ship": 1}, 5).ids) == [("b", 0)]
        for factor in (-1.0, float("nan"), float("inf")):
            with pytest.raises(InvalidControl):
                view.matching({"sea": factor}, 5)


def test_what_does_not_fit_is_refused(database: Database, collection: Collection, views: Views) -> None:
    put(database, collection, Item(id="a", text="sea"))
    with views.open("books") as view:
        for vector in (np.zeros(DIMENSION + 1, np.float32), np.zeros((1, DIMENSION), np.float32)):
            with pytest.raises(ModelMismatch, match="8 dimensions"):
                view.nearest(vector, 5)
        for method in (view.vectors, view.documents_of, lambda ids: view.sparse_products(["sea"], ids)):
            with pytest.raises(HitNotFound, match="no passage 99"):
                method(np.array([1, 99]))
    with pytest.raises(CollectionNotFound), views.open("boks"):
        pass


def test_settings_of_bm25_are_those_of_the_collection(database: Database, views: Views) -> None:
    collection = create(database, "films", CollectionSettings(k1=0.4, b=0.1))
    items = [Item(id="a", text="sea sea ship"), Item(id="b", text="sea leg"), Item(id="c", text="whale")]
    put(database, collection, *items)
    with views.open("films") as view:
        scores = sparse_oracle(items, {"sea": 2}, k1=0.4, b=0.1)
        assert view.matching({"sea": 2}, 5).scores.tolist() == pytest.approx(sorted(scores.values(), reverse=True))


def test_changed_settings_hold_from_the_next_view_on(database: Database, views: Views) -> None:
    """And views that are open keep theirs; a view can be asked what others would come to."""
    create(database, "films", CollectionSettings(k1=0.4, b=0.1))
    items = [Item(id="a", text="sea sea ship"), Item(id="b", text="sea leg"), Item(id="c", text="whale")]
    put(database, views.collection("films"), *items)

    def scores(view: View) -> list[float]:
        return [float(score) for score in view.matching({"sea": 2}, 5).scores]

    def expected(k1: float, b: float) -> list[float]:
        return sorted((s for s in sparse_oracle(items, {"sea": 2}, k1=k1, b=b).values() if s), reverse=True)

    with views.open("films") as before:
        assert scores(before) == pytest.approx(expected(0.4, 0.1))
        assert scores(before.rescored(k1=2, b=0.9)) == pytest.approx(expected(2, 0.9))
        with database.write() as session:
            changed = catalog.change_scoring(session, "films", Scoring(alpha=0.3, k1=1.8, b=0.5))
        assert scores(before) == pytest.approx(expected(0.4, 0.1))
    for _ in range(2):
        with views.open("films") as after:
            assert after.collection == changed
            assert scores(after) == pytest.approx(expected(1.8, 0.5))
    put(database, changed, Item(id="d", text="sea sea sea"))
    items.append(Item(id="d", text="sea sea sea"))
    with views.open("films") as later:
        assert scores(later) == pytest.approx(expected(1.8, 0.5))


def test_documents_are_numbered_as_their_passages_say(database: Database, collection: Collection, views: Views) -> None:
    put(database, collection, Item(id="a", text="sea"), Item(id="b", text="ship"))
    with views.open("books") as view:
        numbers = view.document_numbers(["b", "a", "nowhere", "\ud800"])
        passages = view.fetch(np.array([1, 2]))
        assert numbers == {
            passage.document_id: number
            for passage, number in zip(passages, view.documents_of(np.array([1, 2])).tolist(), strict=True)
        }


def test_a_collection_that_was_made_again_is_another(
    database: Database, collection: Collection, views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.views._LOOK_SECONDS", 0.0)
    put(database, collection, Item(id="a", text="sea"))
    with views.open("books") as view:
        old = view.nearest(vector_of("sea"), 5).ids
    with database.write() as session:
        catalog.delete_collection(session, "books")
    put(database, create(database), Item(id="b", text="sea"))
    with views.open("books") as view:
        new = view.nearest(vector_of("sea"), 5).ids
        assert places(view, new) == [("b", 0)]
        assert set(new) & set(old) == set()
    assert len(views._slots) == 1


def test_passages_that_arrive_out_of_order_are_found(database: Database, collection: Collection) -> None:
    # A backfill logs old passages after new ones: the log's order is not that of the ids.
    items = [Item(id=str(i), text=" ".join(WORDS[: i % 6 + 1])) for i in range(10)]
    put(database, collection, *items)
    with database.read() as session:
        straight = load(session, collection)
    with database.write() as session:
        session._connection.exec_driver_sql("UPDATE change SET seq = 1000 - seq")
    with database.read() as session:
        turned = load(session, collection)
    (one,), (other,) = straight.parts, turned.parts
    assert one.segment.ids.tolist() == other.segment.ids.tolist() == sorted(one.segment.ids.tolist())
    assert one.segment.vectors.tobytes() == other.segment.vectors.tobytes()
    for name in ("terms", "offsets", "rows", "values", "lengths"):
        assert getattr(one.segment.postings, name).tolist() == getattr(other.segment.postings, name).tolist(), name


class Wide:
    """A collection whose vectors have 48 dimensions and many near ties."""

    def __init__(self, database: Database, rows: int, seed: int) -> None:
        chance = np.random.default_rng(seed)
        centres = chance.normal(size=(max(1, rows // 200), 48))
        noise = chance.choice([0, 2e-7, 1e-3], p=[0.2, 0.6, 0.2], size=(rows, 1)) * chance.normal(size=(rows, 48))
        self.vectors = (centres[chance.integers(0, len(centres), rows)] + noise).astype(np.float32)
        with database.write() as session:
            collection = catalog.create_collection(
                session, f"wide{seed}", CollectionSettings(), model="m", fingerprint=FINGERPRINT, dimension=48
            )
            items = [Item(id=str(i), text=f"line {i}") for i in range(rows)]
            drafts: tuple[Draft, ...] = tuple(map(draft_of, items))
            embeddings = {
                sha_of(item.text): Embedding(vector=vector, terms={"line": 1})
                for item, vector in zip(items, self.vectors, strict=True)
            }
            commit(session, Batch(collection=collection, fingerprint=FINGERPRINT, drafts=drafts, embeddings=embeddings))
        self.name = collection.name


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.sampled_from([1, 7, 100, 5000]))
def test_nearest_is_exact_where_scores_all_but_tie(tmp_path_factory: pytest.TempPathFactory, seed: int, k: int) -> None:
    database = Database.open(Path(tmp_path_factory.mktemp("wide")))
    wide = Wide(database, 600, seed)
    chance = np.random.default_rng(seed)
    query = chance.normal(size=48).astype(np.float32)
    exact = dense.products([(wide.vectors, np.arange(len(wide.vectors)))], query)
    with Views(database).open(wide.name) as view:
        ids = view.nearest(query, 600).ids
        numbers = {int(id_): int(hit.document_id) for id_, hit in zip(ids, view.fetch(ids), strict=True)}
        scores = {id_: exact[number] for id_, number in numbers.items()}
        for allowed in (
            None,
            *(np.sort(chance.choice(ids, count, replace=False)) for count in (20, 300)),
            np.array([10**9]),
            ids[:0],
        ):
            among = scores if allowed is None else {id_: scores[id_] for id_ in allowed.tolist() if id_ in scores}
            ranked = sorted(among, key=lambda id_: (-among[id_], id_))[:k]
            pool = view.nearest(query, k, allowed)
            assert pool.ids.tolist() == ranked
            assert pool.scores.tolist() == [among[id_] for id_ in ranked]
    database.close()


@given(counts=st.lists(st.integers(0, 200), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_a_dot_product_does_not_depend_on_its_neighbours(counts: list[int], seed: int) -> None:
    """Wherever it lies in the blocks that are copied and converted at once, which end within pieces."""
    chance = np.random.default_rng(seed)
    query = chance.normal(size=384).astype(np.float32)
    vectors = [chance.normal(size=(max(count, 1), 384)).astype(np.float32) for count in counts]
    pieces = [(some, chance.permutation(len(some))[:count]) for some, count in zip(vectors, counts, strict=True)]
    together = dense.products(pieces, query)
    alone = [dense.products([(some, rows[i : i + 1])], query) for some, rows in pieces for i in range(len(rows))]
    assert together.tobytes() == b"".join(one.tobytes() for one in alone)
    right = [some[rows].astype(np.float64) @ query.astype(np.float64) for some, rows in pieces]
    assert together == pytest.approx(np.concatenate(right), abs=1e-12)
