"""A collection with learned sparse weights beside its terms, and the slow, obvious way to search it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from core.records import Collection, CollectionSettings, IndexKind, SparseScoring, SparseVector
from store import Batch, Database, Embedding, Receipt, catalog
from store.commit import commit
from tests.store.library import DIMENSION, FINGERPRINT, WORDS, Item, Place, draft_of, sha_of, terms_of, vector_of

SPARSE_FINGERPRINT = "fingerprint-of-the-sparse-encoder"
IDS = {word: 7 * i for i, word in enumerate(WORDS)}  # 0 is an id like any other


def create_learned(
    database: Database,
    name: str = "learned",
    scoring: SparseScoring = SparseScoring.BOTH,
    index: IndexKind = IndexKind.AUTO,
) -> Collection:
    with database.write() as session:
        return catalog.create_collection(
            session,
            name,
            CollectionSettings(sparse=scoring, index=index),
            model="test",
            fingerprint=FINGERPRINT,
            dimension=DIMENSION,
            sparse_model="splade",
            sparse_fingerprint=SPARSE_FINGERPRINT,
        )


def put_learned(database: Database, collection: Collection, *items: Item, delete: Iterable[str] = ()) -> Receipt:
    with database.write() as session:
        return commit(session, batch_of(collection, items, delete=delete))


def batch_of(collection: Collection, items: Iterable[Item], *, delete: Iterable[str] = ()) -> Batch:
    lines = {line for item in items for _, line in item.lines()}
    return Batch(
        collection=collection,
        fingerprint=FINGERPRINT,
        sparse_fingerprint=SPARSE_FINGERPRINT,
        drafts=tuple(draft_of(item, collection.settings.fields) for item in items),
        embeddings={
            sha_of(line): Embedding(vector=vector_of(line), terms=terms_of(line), learned=vector(weights_of(line)))
            for line in lines
        },
        deletions=tuple(delete),
    )


def weights_of(line: str) -> dict[int, float]:
    """Sums of powers of two: exact in any order, and ties are many."""
    return {IDS[word]: count + (0.5 if "sea" in line else 0.0) for word, count in terms_of(line).items()}


def vector(weights: Mapping[int, float]) -> SparseVector:
    ids = sorted(weights)
    return SparseVector(
        ids=np.array(ids, dtype=np.int32), weights=np.array([weights[id_] for id_ in ids], dtype=np.float32)
    )


def oracle(items: Iterable[Item], query: Mapping[int, float]) -> dict[Place, float]:
    found = {
        (item.id, start): sum(query.get(id_, 0.0) * weight for id_, weight in weights_of(line).items())
        for item in items
        for start, line in item.lines()
    }
    return {place: score for place, score in found.items() if score > 0}
