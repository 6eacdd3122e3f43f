"""The write path of a collection with learned sparse weights, with real models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import sqlalchemy as sa

from core.errors import ModelMismatch, ModelNotFound
from core.prompts import Prompt, TextItem
from core.records import CollectionSettings, Document, Representation, SparseEmbeddings, SparseScoring
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from embedder.sparse import SparseModel, load_sparse
from indexer.pipeline import AddProgress, Pipeline, delete
from store import schema
from store.database import Database
from store.terms import POSTING, pack_vector
from tests.collections import create_for


class Watched:
    """The real sparse model, which counts what it embeds and can be told to fail."""

    def __init__(self, model: SparseModel) -> None:
        self._model = model
        self.embedded: list[str] = []
        self.fails: Callable[[str], bool] = lambda text: False
        self.spoils: Callable[[str], bool] = lambda text: False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode_sparse(
        self, prompts: Sequence[Prompt], representation: Representation, **options: Any
    ) -> SparseEmbeddings:
        assert representation is Representation.DOCUMENT
        texts = [item.text for prompt in prompts for item in prompt.items if isinstance(item, TextItem)]
        if any(map(self.fails, texts)):
            raise RuntimeError("no kernel for this text")
        made = self._model.encode_sparse(prompts, representation, **options)
        for text, vector in zip(texts, made.vectors, strict=True):
            if self.spoils(text):
                vector.weights[0] = np.nan
        self.embedded += texts
        return made


@pytest.fixture(scope="module")
def model(splade: Path) -> SparseModel:
    return load_sparse(splade, name="splade", device="cpu")


@pytest.fixture
def watched(model: SparseModel) -> Watched:
    return Watched(model)


def collect(database: Database, encoder: LocalEncoder, sparse: Watched, scoring: SparseScoring) -> None:
    settings = CollectionSettings(language="en", sparse=scoring)
    create_for(encoder, database, scoring.value, settings, sparse=cast("SparseModel", sparse))


@pytest.fixture
def pipeline(database: Database, encoder: LocalEncoder, watched: Watched) -> Pipeline:
    for scoring in (SparseScoring.LEARNED, SparseScoring.BOTH):
        collect(database, encoder, watched, scoring)
    return Pipeline(database, only(encoder), Analyzer(), {"splade": watched}.__getitem__)  # type: ignore[arg-type]


def stored(database: Database) -> list[sa.Row[Any]]:
    columns = schema.embedding.c
    with database.read() as session:
        return list(session.execute(sa.select(columns.sparse, columns.learned).order_by(columns.id)).all())


def test_the_stored_weights_are_the_model_s(pipeline: Pipeline, database: Database, model: SparseModel) -> None:
    pipeline.add("learned", [Document(id="1", title="Fruit", text="apples and figs")])
    vector = model.encode_sparse([Prompt.of("Fruit apples and figs")], Representation.DOCUMENT).vectors[0]
    (row,) = stored(database)
    assert row.sparse == b""  # no terms in place of which the weights stand
    found = np.frombuffer(row.learned, POSTING)
    assert found["term"].tolist() == vector.ids.tolist()
    np.testing.assert_allclose(found["value"], vector.weights, atol=1e-5)
    assert len(pack_vector(vector)) == len(row.learned) == 8 * len(vector.ids)


def test_beside_bm25_the_terms_are_stored_too(pipeline: Pipeline, database: Database) -> None:
    pipeline.add("both", [Document(id="1", text="apples and figs")])
    (row,) = stored(database)
    assert len(row.sparse) == 2 * POSTING.itemsize  # "and" is a stop word
    assert len(row.learned) > 2 * POSTING.itemsize


def test_unchanged_text_is_never_embedded_twice(pipeline: Pipeline, watched: Watched) -> None:
    seen: list[AddProgress] = []
    documents = [Document(id="1", text="apples"), Document(id="2", text="figs"), Document(id="3", text="apples")]
    first = pipeline.add("both", documents, on_progress=seen.append)
    assert (first.created, first.passages) == (3, 2)
    assert sorted(watched.embedded) == ["apples", "figs"]
    assert max(progress.passages for progress in seen) == 2  # counted once, though two models read them
    again = pipeline.add(
        "both", [*documents[:2], Document(id="3", text="figs"), Document(id="1", text="apples", metadata={"a": 1})]
    )
    assert (again.replaced, again.updated) == (1, 1)
    assert sorted(watched.embedded) == ["apples", "figs"]
    pipeline.add("both", [Document(id="2", text="dates")])
    assert watched.embedded[2:] == ["dates"]


def test_a_document_that_the_sparse_model_fails_on_costs_itself_only(
    pipeline: Pipeline, database: Database, watched: Watched
) -> None:
    watched.fails = lambda text: "figs" in text
    watched.spoils = lambda text: "plums" in text
    names = ["apples", "figs", "dates", "plums", "pears"]
    report = pipeline.add("learned", [Document(id=name, text=name) for name in names])
    assert report.created == 3
    reasons = {error.id: error.reason for error in report.failed}
    assert "no kernel for this text" in reasons["figs"]
    assert "not finite" in reasons["plums"]
    assert len(stored(database)) == 3


def test_what_the_sparse_model_does_not_read_is_reported(
    pipeline: Pipeline, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passages are cut for the dense model; a sparse one may read less."""
    original = watched.encode_sparse

    def cut(prompts: Sequence[Prompt], representation: Representation, **options: Any) -> SparseEmbeddings:
        made = original(prompts, representation, **options)
        flags = np.array([len(prompt.items[0].text) > 10 for prompt in prompts])  # type: ignore[union-attr]
        return SparseEmbeddings(vectors=made.vectors, token_counts=made.token_counts, truncated=flags)

    monkeypatch.setattr(watched, "encode_sparse", cut)
    report = pipeline.add("learned", [Document(id="1", text="apples"), Document(id="2", text="apples and figs")])
    assert report.truncated == ("2",)


def test_documents_are_deleted_without_any_model(pipeline: Pipeline, database: Database) -> None:
    pipeline.add("learned", [Document(id="1", text="apples")])
    assert delete(database, "learned", ["1"]).deleted == 1
    assert stored(database) == []


def test_a_missing_or_changed_sparse_model_is_refused_before_anything_is_read(
    pipeline: Pipeline, database: Database, encoder: LocalEncoder, tmp_path: Path
) -> None:
    def documents() -> Iterator[Document]:
        raise AssertionError("asked for a document")
        yield

    class Other:
        fingerprint = "another"

    with pytest.raises(ModelNotFound, match="learned weights by splade"):
        Pipeline(database, only(encoder), Analyzer()).add("learned", documents())
    other = Pipeline(database, only(encoder), Analyzer(), {"splade": Other()}.__getitem__)  # type: ignore[arg-type]
    with pytest.raises(ModelMismatch, match=r"now loads another model \(another\)"):
        other.add("both", documents())
