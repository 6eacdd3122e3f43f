"""An encoder without a model, whose failures can be arranged, and helpers to queue documents for it."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from core.prompts import Prompt, TextItem
from core.records import Collection, CollectionSettings, Document, Embeddings, Int64Array, Job, Representation
from embedder.densemodels import only
from embedder.lexical import Analyzer
from indexer.intake import Located, receive, repeated
from indexer.pipeline import Pipeline
from indexer.records import Origin
from store import Database, schema
from store.catalog import get_collection
from store.jobs import get_job
from tests.collections import create_for

DIMENSION = 8


class FakeEncoder:
    """Vectors that depend on the text alone. `before` is called with the texts, and may raise or wait."""

    name = "fake"
    fingerprint = "fingerprint-of-the-fake"
    dimension = DIMENSION
    max_tokens = 64

    def __init__(self, before: Callable[[list[str]], None] = lambda texts: None) -> None:
        self.before = before
        self.calls = 0

    def encode(self, prompts: Sequence[Prompt], representation: Representation, **options: Any) -> Embeddings:
        texts = [item.text for prompt in prompts for item in prompt.items if isinstance(item, TextItem)]
        self.calls += 1
        self.before(texts)
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in texts]
        vectors = np.stack([np.random.default_rng(seed).standard_normal(DIMENSION) for seed in seeds])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Embeddings(
            vectors=vectors.astype(np.float32),
            token_counts=np.array([len(text.split()) for text in texts], np.int64),
            truncated=np.zeros(len(texts), bool),
        )

    def trace(self, prompts: Sequence[Prompt], representation: Representation, **options: Any) -> None:
        return None

    def token_spans(self, text: str) -> Int64Array:
        return np.array([found.span() for found in re.finditer(r"\S+", text)], np.int64).reshape(-1, 2)

    def overhead(self, representation: Representation) -> int:
        return 2


def slow(seconds: float) -> Callable[[list[str]], None]:
    return lambda texts: time.sleep(seconds)


def pipeline_of(database: Database, encoder: FakeEncoder) -> Pipeline:
    return Pipeline(database, only(encoder), Analyzer())


def create(database: Database, name: str = "c") -> Collection:
    return create_for(FakeEncoder(), database, name, CollectionSettings(language="en"))


def located(count: int, prefix: str = "d", text: str = "text") -> Iterable[Located]:
    for number in range(count):
        document = Document(id=f"{prefix}{number}", text=f"{text} {prefix} {number}")
        yield Origin(path="body", line=number + 1), document


def enqueue(database: Database, items: Iterable[Located], name: str = "c", **options: Any) -> Job:
    with database.read() as session:
        collection = get_collection(session, name)
    if key := options.get("key"):
        earlier = repeated(database, collection, items, key=key, digest=options.get("digest"))
        if earlier is not None:
            return earlier
    return receive(database, collection, items, receiver="test", **options)


def job(database: Database, id: int = 1) -> Job:
    with database.read() as session:
        return get_job(session, id)


def ids(database: Database) -> list[str]:
    """Of all stored documents; one that was stored twice would be here twice."""
    with database.read() as session:
        return sorted(session.execute(sa.select(schema.document.c.external_id)).scalars())


def rows(database: Database, table: sa.Table) -> int:
    with database.read() as session:
        return int(session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
