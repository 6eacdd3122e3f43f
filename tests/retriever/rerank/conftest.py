from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.records import Document
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever.searcher import Searcher
from store import Database
from tests.collections import create_for
from tests.retriever.pools import with_pools_of
from tests.retriever.rerank.judging import Opinionated, searching


@pytest.fixture
def judge() -> Opinionated:
    return Opinionated()


@pytest.fixture
def searcher(varied: Database, encoder: LocalEncoder, judge: Opinionated) -> Searcher:
    return searching(varied, encoder, judge)


@pytest.fixture(scope="module")
def lasting(varied: Database, encoder: LocalEncoder) -> Searcher:
    return searching(varied, encoder, Opinionated())


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools that have to be deepened."""
    with_pools_of(8, monkeypatch)


@pytest.fixture
def moving(tmp_path: Path, encoder: LocalEncoder) -> Iterator[tuple[Database, Pipeline]]:
    database = Database.open(tmp_path / "data")
    create_for(encoder, database, "moving")
    pipeline = Pipeline(database, only(encoder), Analyzer())
    assert not pipeline.add("moving", [Document(id=f"{n}", text=f"A game for {n} friends.") for n in range(8)]).failed
    yield database, pipeline
    database.close()
