"""A small library of documents to store, and the slow, obvious way to search it."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.records import Collection, CollectionSettings, Document, FieldKind, Float32Array, Passage
from store import Batch, Database, Draft, DraftPassage, Embedding, Receipt, catalog
from store.commit import commit
from store.filters.metadata import StoredMetadata

DIMENSION = 8
FINGERPRINT = "fingerprint-of-the-test-encoder"
WORDS = ["whale", "ship", "sea", "harpoon", "captain", "leg"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A document: each line of its text is a passage, each word a term, and the vector depends on the line alone."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    language: str = "en"

    def lines(self) -> list[tuple[int, str]]:
        """(start, line) of every passage."""
        found, start = [], 0
        for line in self.text.split("\n"):
            found.append((start, line))
            start += len(line) + 1
        return found


def random_item(chance: random.Random, id_: str) -> Item:
    lines = [" ".join(chance.choices(WORDS, k=chance.randint(0, 6))) for _ in range(chance.randint(1, 3))]
    return Item(id=id_, text="\n".join(lines))


def vector_of(line: str) -> Float32Array:
    """Of whole numbers from -2 to 2: sums are exact, and ties are many."""
    seed = int.from_bytes(hashlib.sha256(line.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).integers(-2, 3, DIMENSION).astype(np.float32)


def terms_of(line: str) -> dict[str, int]:
    words = line.split()
    return {word: words.count(word) for word in dict.fromkeys(words)}


def sha_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def draft_of(item: Item, declared: Mapping[str, FieldKind] | None = None) -> Draft:
    document = Document(id=item.id, text=item.text, title=f"title of {item.id}", metadata=item.metadata)
    return Draft(
        document=document,
        metadata=StoredMetadata.of(document, declared or {}),
        language=item.language,
        content_sha=sha_of(item.text),
        passages=tuple(
            DraftPassage(passage=Passage(start=start, end=start + len(line), fresh=start), sha=sha_of(line))
            for start, line in item.lines()
        ),
    )


def embeddings_of(items: Iterable[Item]) -> dict[bytes, Embedding]:
    lines = {line for item in items for _, line in item.lines()}
    return {sha_of(line): Embedding(vector=vector_of(line), terms=terms_of(line)) for line in lines}


def create(database: Database, name: str = "books", settings: CollectionSettings | None = None) -> Collection:
    with database.write() as session:
        return catalog.create_collection(
            session,
            name,
            settings or CollectionSettings(),
            model="test",
            fingerprint=FINGERPRINT,
            dimension=DIMENSION,
        )


def put(database: Database, collection: Collection, *items: Item, delete: Iterable[str] = ()) -> Receipt:
    batch = Batch(
        collection=collection,
        fingerprint=FINGERPRINT,
        drafts=tuple(draft_of(item, collection.settings.fields) for item in items),
        embeddings=embeddings_of(items),
        deletions=tuple(delete),
    )
    with database.write() as session:
        return commit(session, batch)


def delete_books(database: Database) -> None:
    """The collection that `create` made."""
    with database.write() as session:
        catalog.delete_collection(session, "books")


Place = tuple[str, int]  # document id, start of the passage


def dense_oracle(items: Iterable[Item], query: Float32Array) -> dict[Place, float]:
    """The dot product of every passage, in Python numbers."""
    return {
        (item.id, start): sum(float(a) * float(b) for a, b in zip(vector_of(line), query, strict=True))
        for item in items
        for start, line in item.lines()
    }


def sparse_oracle(
    items: Iterable[Item], factors: Mapping[str, float], *, k1: float = 1.2, b: float = 0.75
) -> dict[Place, float]:
    """BM25 of every passage that matches, straight from the formula."""
    passages = {(item.id, start): line.split() for item in items for start, line in item.lines()}
    average = sum(map(len, passages.values())) / len(passages) if passages else 0
    scores = {}
    for place, words in passages.items():
        score = 0.0
        for term, factor in factors.items():
            df = sum(term in others for others in passages.values())
            tf = words.count(term)
            if df and tf and factor:
                idf = math.log(1 + (len(passages) - df + 0.5) / (df + 0.5))
                score += factor * idf * tf / (tf + k1 * (1 - b + b * len(words) / average))
        if score > 0:
            scores[place] = score
    return scores
