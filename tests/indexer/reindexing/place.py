"""A collection that is made anew beside itself: its process, its two models, and the oracle of what it becomes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sqlalchemy as sa

from core.errors import ModelMismatch
from core.protocols import Encoder
from core.records import Collection, Document, Embeddings, Representation
from core.reindexes import Reindex, ReindexState
from embedder.lexical import Analyzer
from indexer.pipeline import Pipeline
from indexer.reindexing import Reindexing
from indexer.reindexstart import ReindexPlan, begin_reindex
from store import Database, Views, schema
from store.catalog import create_collection, get_collection
from store.reindex.record import newest
from tests.indexer.fakes import FakeEncoder, create


class Place:
    """A database with the collection "c", and a process over it that has both models."""

    def __init__(self, database: Database, *, create_it: bool = True) -> None:
        self.database = database
        self.old, self.new = FakeEncoder(), OtherEncoder()
        if create_it:
            create(database)
        self.restart()

    def restart(self) -> None:
        self.pipeline = Pipeline(self.database, self.model, Analyzer())
        self.views = Views(self.database)
        self.reindexing = Reindexing(self.database, self.pipeline, self.views)

    def model(self, collection: Collection) -> Encoder:
        found: Any = {encoder.fingerprint: encoder for encoder in (self.old, self.new)}.get(
            collection.active.fingerprint
        )
        if found is None:
            raise ModelMismatch
        encoder: Encoder = found
        return encoder

    def add(self, **texts: str) -> None:
        report = self.pipeline.add("c", [Document(id=id, text=text, title="t") for id, text in texts.items()])
        assert not report.failed

    def begin(self, **given: Any) -> Reindex:
        given = {"encoder": self.new, "settings": {}, "share": 1.0, **given}
        return begin_reindex(self.database, "c", ReindexPlan(**given))

    def now(self) -> Reindex:
        with self.database.read() as session:
            return newest(session, "c")

    def work(self, until: ReindexState = ReindexState.SWITCHED) -> Reindex:
        deadline = time.monotonic() + 30
        while self.now().state is not until:
            assert self.now().state is not ReindexState.FAILED, self.now().reason
            assert time.monotonic() < deadline, self.now()
            if not self.reindexing.turn():
                time.sleep(0.005)
        return self.now()

    def clean(self) -> None:
        while self.reindexing.turn():
            pass

    def contents(self, name: str = "c") -> dict[str, Any]:
        """Everything that searches go by: text and metadata, and of each passage its span, vector and terms."""
        with self.views.open(name) as view:
            found: dict[str, Any] = {}
            rows = view.session.execute(
                sa.select(schema.document).where(schema.document.c.collection_id == view.collection.id)
            ).all()
            for row in rows:
                ids = np.array(
                    sorted(view.passages_of([row.id]).get(row.id, [])),
                    dtype=np.int64,
                )
                spans = [(p.passage.start, p.passage.end) for p in view.fetch(ids)]
                terms = [view.terms_of(ids[i : i + 1], np.ones(1)) for i in range(len(ids))]
                weights = [sorted((term, round(weight, 6)) for term, weight in each.items()) for each in terms]
                found[row.external_id] = (
                    row.title, row.text, row.metadata, spans, view.vectors(ids).tobytes(), weights,
                )  # fmt: skip
            return found


class OtherEncoder(FakeEncoder):
    """Another model: other vectors, of another length."""

    name = "other"
    fingerprint = "fingerprint-of-the-other"
    dimension = 5
    max_tokens = 12

    def encode(self, prompts: Any, representation: Representation, **options: Any) -> Embeddings:
        made = super().encode(prompts, representation, **options)
        vectors = -made.vectors[:, :5]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Embeddings(vectors=vectors, token_counts=made.token_counts, truncated=made.truncated)


def fresh(place: Place, tmp_database: Database) -> dict[str, Any]:
    """What a collection of the new model is that got the documents one after the other: the oracle."""
    with place.database.read() as session:
        now = get_collection(session, "c")
        rows = session.execute(sa.select(schema.document).where(schema.document.c.collection_id == now.id)).all()
    with tmp_database.write() as session:
        create_collection(
            session, "c", now.settings, model=now.active.model, fingerprint=now.active.fingerprint,
            dimension=now.active.dimension,
        )  # fmt: skip
    other = Place(tmp_database, create_it=False)
    documents = [Document(id=row.external_id, text=row.text, title=row.title) for row in rows]
    other.pipeline.add("c", documents)
    return other.contents()


def raising(error: BaseException) -> Callable[[list[str]], None]:
    def before(texts: list[str]) -> None:
        raise error

    return before


def end_pause(place: Place, reindex: Reindex) -> None:
    """It goes on at once."""
    with place.database.write() as session:
        session.execute(sa.update(schema.reindex).where(schema.reindex.c.id == reindex.id).values(paused_at=None))


def state_of(place: Place, name: str) -> ReindexState:
    with place.database.read() as session:
        return newest(session, name).state
