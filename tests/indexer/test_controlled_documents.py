"""Documents with controls, by real models: what they are embedded as, and that the controls stay with them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from core.errors import InvalidControl
from core.prompts import Prompt, TextControl
from core.records import CollectionSettings, Document, Float32Array, JobState, Representation, SparseScoring
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from embedder.sparse import SparseModel, load_sparse
from indexer.pipeline import Pipeline
from indexer.recheck import recheck
from indexer.reindexing import Reindexing
from indexer.reindexstart import ReindexPlan, begin_reindex
from indexer.worker import Worker
from store import Database, Views, schema
from store.backup import backup, restore
from store.catalog import get_collection
from store.checksum import covered_columns, row_checksum
from store.documents import get_document
from store.repair import repair
from store.verify import verify
from tests.collections import create_for
from tests.indexer.fakes import FakeEncoder, create, enqueue, job, pipeline_of
from tests.retriever.conftest import CONSOLE

BEFORE, BEHIND = "The wolf hunts in cold forests.", "It lives in packs of six."
MENUS = ("Home shop cart login", "All about dogs, cats, birds and fish")
FOOTERS = ("Subscribe to our newsletter!", "All rights of this page are reserved by its owners, 2024.")


@pytest.fixture(scope="module")
def sparse(splade: Path) -> SparseModel:
    return load_sparse(splade, name="splade", device="cpu")


@pytest.fixture
def pipeline(database: Database, encoder: LocalEncoder, sparse: SparseModel) -> Pipeline:
    settings = CollectionSettings(language="en", sparse=SparseScoring.BOTH)
    create_for(encoder, database, "c", settings, sparse=sparse)
    return Pipeline(database, only(encoder), Analyzer(), {"splade": sparse}.__getitem__)


def spanning(text: str, part: str, factor: float) -> TextControl:
    return TextControl(start=text.index(part), length=len(part), factor=factor)


def page(id: str, menu: str, footer: str) -> Document:
    text = f"{BEFORE} {menu} {BEHIND} {footer}"
    return Document(id=id, text=text, controls=(spanning(text, menu, 0.0), spanning(text, footer, 0.0)))


def embeddings(database: Database) -> dict[str, sa.Row[Any]]:
    """By document; each has one passage."""
    document, passage, embedding = schema.document.c, schema.passage.c, schema.embedding.c
    columns = sa.select(document.external_id, embedding.dense, embedding.sparse, embedding.learned)
    joined = columns.join_from(schema.passage, schema.document).join(schema.embedding, embedding.sha == passage.sha)
    with database.read() as session:
        return {row.external_id: row for row in session.execute(joined)}


def vector(row: sa.Row[Any]) -> Float32Array:
    return np.frombuffer(row.dense, "<f4")


def test_a_part_of_factor_0_changes_nothing_whatever_it_says(
    pipeline: Pipeline, database: Database, encoder: LocalEncoder
) -> None:
    pages = [page(f"{m}{f}", menu, footer) for m, menu in enumerate(MENUS) for f, footer in enumerate(FOOTERS)]
    assert pipeline.add("c", pages).created == 4
    first, *others = embeddings(database).values()
    assert len(others) == 3
    for other in others:
        assert (other.dense, other.sparse, other.learned) == (first.dense, first.sparse, first.learned)
    [bare] = encoder.encode([Prompt.of(f"{BEFORE} {BEHIND}")], Representation.DOCUMENT).vectors
    np.testing.assert_allclose(vector(first), bare, atol=1e-5)


def test_without_controls_they_would_differ(pipeline: Pipeline, database: Database) -> None:
    """So that the test before means something."""
    pipeline.add("c", [replace(page("a", MENUS[0], FOOTERS[0]), controls=()), page("b", MENUS[0], FOOTERS[0])])
    rows = embeddings(database)
    assert float(vector(rows["a"]) @ vector(rows["b"])) < 0.97
    assert rows["a"].sparse != rows["b"].sparse
    assert rows["a"].learned != rows["b"].learned


def test_a_passage_is_embedded_as_a_steered_prompt_is(
    pipeline: Pipeline, database: Database, encoder: LocalEncoder
) -> None:
    text = "A red coat for a wedding."
    pipeline.add("c", [Document(id="a", title="Coat", text=text, controls=(spanning(text, "wedding", 4.0),))])
    prompt = Prompt.of(f"Coat {text}", (spanning(f"Coat {text}", "wedding", 4.0),))
    expected = encoder.encode([prompt], Representation.DOCUMENT).vectors[0]
    np.testing.assert_allclose(vector(embeddings(database)["a"]), expected, atol=1e-6)


def test_a_part_that_counts_double_moves_ranks_as_wanted(
    pipeline: Pipeline, database: Database, encoder: LocalEncoder
) -> None:
    """Of two mixed texts, the one whose part on games counts more is nearer to games, and its terms weigh more."""
    films = (
        "In the evening it shows films, series and the news in sharp pictures, with subtitles where they are wanted."
    )
    mixed = f"{CONSOLE} {films}"
    factors = {"half": 0.3, "once": 1.0, "double": 2.0, "much": 5.0}
    made = [Document(id=id, text=mixed, controls=(spanning(mixed, CONSOLE, f),)) for id, f in factors.items()]
    pipeline.add("c", made)
    asked = [Prompt.of("unlimited gaming adventures"), Prompt.of("films, series and news with subtitles")]
    games, news = encoder.encode(asked, Representation.QUERY).vectors
    rows = embeddings(database)
    towards_games = [float(vector(rows[id]) @ (games - news)) for id in factors]
    assert towards_games == sorted(towards_games)
    assert towards_games[2] - towards_games[1] > 0.03
    with Views(database).open("c") as view:
        pool = view.matching({"game": 1.0}, 10, None)
        assert [hit.document_id for hit in view.fetch(pool.ids)] == ["much", "double", "once", "half"]
        pool = view.matching({"film": 1.0}, 10, None)
        assert [hit.document_id for hit in view.fetch(pool.ids)] == ["half", "once", "double", "much"]


def kept(database: Database, name: str = "c") -> dict[str, tuple[TextControl, ...]]:
    with database.read() as session:
        collection = get_collection(session, name)
        ids = session.execute(
            sa.select(schema.document.c.external_id).where(schema.document.c.collection_id == collection.id)
        ).scalars()
        return {id: get_document(session, collection.id, id).document.controls for id in list(ids)}


def test_only_what_is_another_is_embedded_again(pipeline: Pipeline) -> None:
    document = page("a", MENUS[0], FOOTERS[0])
    assert pipeline.add("c", [document]).passages == 1
    again = pipeline.add("c", [document])
    assert (again.unchanged, again.passages) == (1, 0)
    idle = replace(document, controls=(*document.controls, TextControl(start=0, length=3, factor=1.0)))
    same = pipeline.add("c", [idle])
    assert (same.replaced, same.passages) == (1, 0), "kept with the document, and nothing new to embed"
    other = pipeline.add("c", [replace(document, controls=document.controls[:1])])
    assert (other.replaced, other.passages) == (1, 1)
    updated = pipeline.add("c", [replace(document, controls=document.controls[:1], metadata={"a": 1})])
    assert (updated.updated, updated.passages) == (1, 0)


def test_backups_repairs_and_checks_keep_them(
    pipeline: Pipeline, database: Database, encoder: LocalEncoder, sparse: SparseModel, tmp_path: Path
) -> None:
    lamb = "A lamb on a hill."
    documents = [
        page("a", MENUS[0], FOOTERS[0]),
        Document(id="b", text=lamb, controls=(spanning(lamb, "lamb", 0.3), spanning(lamb, "hill", 2.7))),
    ]
    pipeline.add("c", documents)
    before = embeddings(database)
    expected = {document.id: document.controls for document in documents}
    database.close()
    backup(tmp_path / "data", tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert verify(tmp_path / "restored", recheck=recheck).findings == ()
    with closing(sqlite3.connect(tmp_path / "restored" / "salience.db")) as connection, connection:
        connection.execute("DELETE FROM passage")  # a repair must make the document anew, as it was asked for
    remade: list[Document] = []

    def remake(name: str, found: Sequence[Document]) -> None:
        remade.extend(found)
        opened = Database.open(tmp_path / "restored")
        report = Pipeline(opened, only(encoder), Analyzer(), {"splade": sparse}.__getitem__).add(name, found)
        opened.close()
        assert not report.failed

    done = repair(tmp_path / "restored", remake=remake, recheck=recheck)
    assert {document.id: document.controls for document in remade} == expected, done
    assert verify(tmp_path / "restored", recheck=recheck).findings == ()
    opened = Database.open(tmp_path / "restored")
    assert kept(opened) == expected
    for id, row in embeddings(opened).items():
        np.testing.assert_allclose(vector(row), vector(before[id]), atol=1e-6)
        assert row.sparse == before[id].sparse
    opened.close()


@pytest.mark.parametrize(
    ("statement", "sealed", "problem"),
    [
        ("UPDATE document SET controls = '[[0,3,0.0]]'", False, "controls, language or hash is not what was written"),
        ("UPDATE document SET controls = NULL", False, "is not what was written"),
        ("UPDATE document SET controls = NULL", True, "are not those that its hash was made of"),
        ("UPDATE document SET controls = '[[0,3]]'", True, "its controls are not what Salience stores"),
        ("UPDATE document SET controls = '{'", True, "its controls are not what Salience stores"),
    ],
)
def test_damage_to_them_is_found(
    database: Database, tmp_path: Path, statement: str, sealed: bool, problem: str
) -> None:
    create(database)
    text = "the wolf runs"
    pipeline_of(database, FakeEncoder()).add("c", [Document(id="a", text=text, controls=(spanning(text, "the", 0.5),))])
    database.close()
    assert verify(tmp_path / "data", recheck=recheck).findings == ()
    with closing(sqlite3.connect(tmp_path / "data" / "salience.db")) as connection, connection:
        connection.execute(statement)
        if sealed:
            connection.create_function("row_checksum", -1, row_checksum)
            columns = ", ".join(covered_columns(schema.document))
            connection.execute(f"UPDATE document SET checksum = row_checksum({columns})")
    assert problem in " ".join(finding.problem for finding in verify(tmp_path / "data", recheck=recheck).findings)


class Another(FakeEncoder):
    """Another model of the kind, whose vectors depend on the controls, too."""

    name, fingerprint = "another", "fingerprint-of-another"

    def encode(self, prompts: Sequence[Prompt], representation: Representation, **options: Any) -> Any:
        return super().encode([Prompt.of(repr(prompt)) for prompt in prompts], representation, **options)


def test_a_reindex_brings_them_along(database: Database) -> None:
    create(database)
    encoders = {encoder.fingerprint: encoder for encoder in (FakeEncoder(), Another())}
    pipeline = Pipeline(database, lambda found: encoders[found.active.fingerprint], Analyzer())
    documents = [page("a", MENUS[0], FOOTERS[0]), Document(id="b", text="A lamb.")]
    pipeline.add("c", documents)
    reindexing = Reindexing(database, pipeline, Views(database))
    begin_reindex(database, "c", ReindexPlan(encoder=Another(), settings={}, share=1.0))
    reindexing.turn()
    documents[1] = replace(documents[1], controls=(TextControl(start=2, length=4, factor=3.0),))
    pipeline.add("c", documents)
    reindexing.drain()
    with database.read() as session:
        assert get_collection(session, "c").active.model == "another"
    assert kept(database) == {document.id: document.controls for document in documents}
    found = embeddings(database)
    [expected] = Another().encode([Prompt.of("A lamb.", documents[1].controls)], Representation.DOCUMENT).vectors
    np.testing.assert_array_equal(vector(found["b"]), expected)
    assert verify(database.directory, recheck=recheck).findings == ()


def test_a_reindex_sees_what_differs_in_them_alone(database: Database) -> None:
    """As after a repair, which writes without a note: the comparison at its end finds it."""
    from store.reindex.comparing import differences
    from store.reindex.record import newest

    create(database)
    encoders = {encoder.fingerprint: encoder for encoder in (FakeEncoder(), Another())}
    pipeline = Pipeline(database, lambda found: encoders[found.active.fingerprint], Analyzer())
    pipeline.add("c", [Document(id="b", text="A lamb.")])
    begin_reindex(database, "c", ReindexPlan(encoder=Another(), settings={}, share=1.0, auto_switch=False))
    Reindexing(database, pipeline, Views(database)).drain()
    with database.read() as session:
        reindex = newest(session, "c")
    assert differences(database, reindex).other == ()
    with database.write() as session:
        session.execute(sa.text("UPDATE document SET controls = '[[2,4,0.5]]' WHERE collection_id = 1"))
    assert differences(database, reindex).other == ("b", "b")


class Unsteerable(FakeEncoder):
    def encode(self, prompts: Sequence[Prompt], representation: Representation, **options: Any) -> Any:
        if any(prompt.steered for prompt in prompts):
            raise InvalidControl("model fake does not take controls on auto: it was probed")
        return super().encode(prompts, representation, **options)


def test_a_model_that_cannot_be_steered_refuses_them_and_nothing_else(database: Database) -> None:
    create(database)
    steered = [
        Document(id=f"s{i}", text=f"number {i}", controls=(TextControl(start=0, length=6, factor=0.5),))
        for i in range(3)
    ]
    report = pipeline_of(database, Unsteerable()).add("c", [Document(id="p", text="plain"), *steered])
    assert (report.created, report.failed_count) == (1, 3)
    assert {(one.code, one.id) for one in report.failed} == {("invalid_control", f"s{i}") for i in range(3)}
    assert "does not take controls on auto: it was probed" in report.failed[0].reason
    nothing_else = pipeline_of(database, Unsteerable()).add("c", steered)
    assert nothing_else.failed_count == 3, "the documents are at fault, not the model"


def test_what_is_left_out_asks_nothing_of_a_model(database: Database) -> None:
    create(database)
    report = pipeline_of(database, Unsteerable()).add("c", [page("a", MENUS[0], FOOTERS[0])])
    assert (report.created, report.failed_count) == (1, 0)


def test_a_job_of_such_documents_ends(database: Database) -> None:
    create(database)
    controls = (TextControl(start=0, length=6, factor=2.0),)
    enqueue(database, [(None, Document(id=f"s{i}", text=f"number {i}", controls=controls)) for i in range(2)])
    Worker(database, pipeline_of(database, Unsteerable())).drain()
    done = job(database)
    assert (done.state, done.failed, done.created) == (JobState.DONE, 2, 0)
