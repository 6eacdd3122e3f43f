"""Collections with learned weights, and a searcher over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.records import CollectionSettings, Document, SparseScoring
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from embedder.sparse import SparseModel, load_sparse
from indexer.pipeline import Pipeline
from retriever.searcher import Searcher
from store import Database, Views
from tests.collections import create_for
from tests.retriever.conftest import documents


@pytest.fixture(scope="module")
def sparse(splade: Path) -> SparseModel:
    return load_sparse(splade, name="splade", device="cpu")


@pytest.fixture(scope="module")
def few() -> list[Document]:
    return documents()[:45]


@pytest.fixture(scope="module")
def learned_database(
    tmp_path_factory: pytest.TempPathFactory, encoder: LocalEncoder, sparse: SparseModel, few: list[Document]
) -> Iterator[Database]:
    """The collections "bm25", "learned" and "both", each named for its sparse side."""
    database = Database.open(tmp_path_factory.mktemp("learned") / "data")
    pipeline = Pipeline(database, only(encoder), Analyzer(), {"splade": sparse}.__getitem__)
    for scoring in SparseScoring:
        with_model = scoring is not SparseScoring.BM25
        settings = CollectionSettings(sparse=scoring)
        create_for(encoder, database, scoring.value, settings, sparse=sparse if with_model else None)
        assert not pipeline.add(scoring.value, few if with_model else few[:3]).failed
    yield database
    database.close()


@pytest.fixture(scope="module")
def search(learned_database: Database, encoder: LocalEncoder, sparse: SparseModel) -> Searcher:
    return Searcher(Views(learned_database), only(encoder), Analyzer(), {"splade": sparse}.__getitem__)
