"""A small real collection: the texts of the steering benchmark, two of them long enough for several passages."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.steering.groups import GROUPS, load_group
from core.reasons import Explanation, HitExplanation
from core.records import CollectionSettings, Document, FieldKind, Hit
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever.fusion import Fusion
from retriever.query import Query, steer
from retriever.searcher import Searcher
from store import Database, Views
from tests.collections import create_for
from tests.retriever.varied import varied_documents

TELEVISION = (
    "Your favorite movies and TV programs are automatically upscaled to 4K using our new 4K upscaling technology. You "
    "can quickly discover content and navigate streaming services with our entertainment hub via the internet."
)
CONSOLE = (
    "Experience unbelievable adventures with our new gaming console. Just plug your console into your TV to enjoy more "
    "than 130 fps and connect to the internet for unlimited gaming fun."
)

FUSIONS = [Fusion(), Fusion(method="convex"), Fusion(method="rrf")]


def documents() -> list[Document]:
    """About 110 documents; the first of each group come once more as one long document."""
    found = [
        Document(id="television", title="Television", text=TELEVISION, metadata={"kind": "product", "price": 900}),
        Document(id="console", title="", text=CONSOLE, metadata={"kind": "product", "price": 400}),
    ]
    for name in GROUPS:
        texts = list(load_group(name).documents.items())
        found += [
            Document(id=f"{name}-{id_}", text=text, metadata={"kind": name, "length": len(text)}) for id_, text in texts
        ]
        joined = "\n\n".join(text for _, text in texts[:20])
        found.append(Document(id=f"{name}-long", title=f"All about {name}", text=joined, metadata={"kind": "long"}))
    return found


def explained(hit: Hit) -> HitExplanation:
    assert hit.explanation is not None
    return hit.explanation


def lines(tree: Explanation) -> list[Explanation]:
    return [tree, *itertools.chain.from_iterable(lines(detail) for detail in tree.details)]


def branches(tree: Explanation) -> Iterator[Explanation]:
    """The lines that have parts."""
    return (line for line in lines(tree) if line.details)


def steered(text: str, **others: object) -> Query:
    clean, controls = steer(text)
    return Query(text=clean, controls=controls, **others)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory, encoder: LocalEncoder) -> Iterator[Database]:
    database = Database.open(Path(tmp_path_factory.mktemp("searched")))
    for name in ("things", "empty"):
        create_for(encoder, database, name)
    report = Pipeline(database, only(encoder), Analyzer()).add("things", documents())
    assert not report.failed
    yield database
    database.close()


@pytest.fixture(scope="session")
def searcher(database: Database, encoder: LocalEncoder) -> Searcher:
    return Searcher(Views(database), only(encoder), Analyzer())


@pytest.fixture(scope="session")
def varied(tmp_path_factory: pytest.TempPathFactory, encoder: LocalEncoder) -> Iterator[Database]:
    """The collection "varied" of tests.retriever.varied: short passages, four languages, metadata of every kind."""
    database = Database.open(Path(tmp_path_factory.mktemp("varied")))
    create_for(
        encoder,
        database,
        "varied",
        CollectionSettings(passage_tokens=24, overlap_tokens=6, fields={"made": FieldKind.DATE}),
    )
    report = Pipeline(database, only(encoder), Analyzer()).add("varied", varied_documents())
    assert not report.failed
    yield database
    database.close()
