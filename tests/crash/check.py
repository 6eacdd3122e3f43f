"""Looks at a data directory after a crash: opens it, verifies it, and compares all that it says with the oracle."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from core.errors import SalienceError, StorageError
from core.filters import parse_filter
from core.records import Document, Int64Array, JobState
from indexer.recheck import recheck
from indexer.worker import Worker
from store import Database, View, Views, schema
from store.catalog import get_collection
from store.clock import database_now
from store.documents import list_documents
from store.segments.files import segment_problems
from store.segments.rows import active_segments
from store.verify import verify
from tests.crash.child import LATER
from tests.crash.codes import index_problems, search_problem
from tests.crash.oracle import Documents, Oracle, Passage, State, bm25_scores, dense_scores, passages_of
from tests.crash.workload import COLLECTIONS, SETTINGS, words
from tests.indexer.fakes import DIMENSION, FakeEncoder, pipeline_of

KINDS = ("lost", "half", "duplicated", "search", "damaged", "failed")  # the last: children that did
_DEPTH = 10  # hits that are compared
_LATER = 10 * LATER  # seconds: by then the leases of killed processes are over, of those too that were ahead of time


@dataclass
class Findings:
    """What is wrong, by kind; nothing after a crash that was survived."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    searches: int = 0  # that were compared
    segments: int = 0  # that were read
    indexes: Counter[str] = field(default_factory=Counter)  # that these had for dense searches, by kind

    def add(self, kind: str, problem: str) -> None:
        self.problems.setdefault(kind, []).append(problem)

    def __bool__(self) -> bool:
        return bool(self.problems)

    def __str__(self) -> str:
        return "; ".join(f"{kind}: {problem}" for kind, found in self.problems.items() for problem in found[:5])


def examine(data_dir: Path, oracle: Oracle, chance: random.Random, removed: AbstractSet[str] = frozenset()) -> Findings:
    """Everything. The jobs that wait are worked off; the oracle then knows what became of what was not acknowledged.

    `removed`: names of segments whose file the test took away.
    """
    findings = Findings()
    if not oracle.created and not _readable(data_dir):
        return findings  # it was killed before anything was acknowledged
    _verify(data_dir, findings, removed)
    try:
        database = Database.open(data_dir)
    except StorageError as error:
        findings.add("damaged", f"it cannot be opened: {error}")
        return findings
    try:
        _segments_are_whole(database, findings, removed)
        _settle(database, oracle, findings, drained=False)
        worker = Worker(database, pipeline_of(database, FakeEncoder()), clock=lambda s: database_now(s) + _LATER)
        worker.drain()
        _jobs_ended(database, findings)
        _settle(database, oracle, findings, drained=True)
        for name in COLLECTIONS:
            documents = oracle.expected()[name]
            if name in state_of(database):
                _passages_are(database, name, documents, findings)
                try:
                    _searches_are(Views(database), name, passages_of(documents), documents, chance, findings)
                except SalienceError as error:
                    findings.add("search", f"{name}: {error}")
    finally:
        database.close()
    _verify(data_dir, findings, removed)
    return findings


def examine_backup(directory: Path, oracle: Oracle, scratch: Path) -> Findings:
    """One that was acknowledged. `scratch`: a directory to make, where the copy is opened that is made of it."""
    findings = Findings()
    if not directory.is_dir():
        findings.add("lost", f"the backup {directory.name}")
        return findings
    shutil.copytree(directory, scratch)
    _verify(scratch, findings)
    if not findings:
        database = Database.open(scratch)
        for problem in oracle.backup_can_be(state_of(database), directory.name):
            findings.add("lost", problem)
        database.close()
    shutil.rmtree(scratch)
    return findings


def state_of(database: Database) -> State:
    """All documents of all collections."""
    found: State = {}
    with database.read() as session:
        names = session.execute(sa.select(schema.collection.c.name)).scalars().all()
        for name in names:
            stored = list_documents(session, get_collection(session, name).id, limit=10**6)
            found[name] = {item.document.id: item.document for item in stored}
    return found


def _readable(data_dir: Path) -> bool:
    """Whether it has come so far that it says that it is ours."""
    try:
        return verify(data_dir).version is not None
    except StorageError:
        return False


def _verify(data_dir: Path, findings: Findings, removed: AbstractSet[str] = frozenset()) -> None:
    try:
        done = verify(data_dir, recheck=recheck)
    except StorageError as error:
        findings.add("damaged", str(error))
        return
    missing = tuple(f"segment {name} of " for name in removed)
    for finding in done.findings:
        if finding.where.startswith(missing):
            continue
        findings.add("damaged", f"{finding.where}: {finding.problem}")


def _segments_are_whole(database: Database, findings: Findings, removed: AbstractSet[str]) -> None:
    """Every segment that counts has its file, and every byte of it is right."""
    with database.read() as session:
        generations = session.execute(sa.select(schema.generation.c.id)).scalars().all()
        rows = [row for generation in generations for row in active_segments(session, generation)]
    for row in [row for row in rows if row.name not in removed]:
        problems = segment_problems(database.directory, row)
        for problem in problems or index_problems(database.directory, row, findings.indexes):
            findings.add("damaged", f"segment {row.name}: {problem}")
    findings.segments += len(rows)


def _settle(database: Database, oracle: Oracle, findings: Findings, *, drained: bool) -> None:
    found = state_of(database)
    for name in oracle.created - found.keys():
        findings.add("lost", f"the collection {name}")
    for problem in oracle.settle(found, drained=drained):
        findings.add("half" if ": half: " in problem else "lost", f"{problem}{'' if drained else ' (jobs waiting)'}")


def _jobs_ended(database: Database, findings: Findings) -> None:
    """Each job is done, and every document of it is counted once."""
    with database.read() as session:
        for row in session.execute(sa.select(schema.job)):
            counted = row.created + row.replaced + row.updated + row.unchanged
            if row.state != JobState.DONE.value or row.failed or row.pending:
                findings.add("lost", f"job {row.id} is {row.state}: {row.reason}; {row.failed} failed")
            elif counted != row.total - row.duplicates:
                kind = "lost" if counted < row.total else "duplicated"
                findings.add(kind, f"job {row.id}: of {row.total} documents {counted} were written")


def _passages_are(database: Database, name: str, documents: Documents, findings: Findings) -> None:
    """Every document has the passages that its text makes, each once."""
    with database.read() as session:
        stored = list_documents(session, get_collection(session, name).id, limit=10**6)
        in_all = session.execute(sa.select(sa.func.count()).select_from(schema.passage)).scalar_one()
        orphans = (
            in_all - session.execute(sa.select(sa.func.count()).join_from(schema.passage, schema.document)).scalar_one()
        )
    if orphans:
        findings.add("duplicated", f"{orphans} passages of no document")
    for item in stored:
        if item.document.id not in documents:
            continue  # the oracle has said so already
        expected = Counter(passage.start for passage in passages_of({"": documents[item.document.id]}))
        found = Counter(passage.start for passage in item.passages)
        if expected - found:
            findings.add("half", f"{name}/{item.document.id}: {len(found)} of {len(expected)} passages")
        elif found - expected:
            findings.add("duplicated", f"{name}/{item.document.id}: {len(found)} passages, not {len(expected)}")


def _searches_are(
    views: Views, name: str, passages: list[Passage], documents: Documents, chance: random.Random, findings: Findings
) -> None:
    """Dense, sparse, and with a filter: the best hits and their scores are those of the oracle."""
    query = np.random.default_rng(chance.randrange(2**32)).standard_normal(DIMENSION)
    query = query.astype(np.float32).astype(np.float64)
    terms = sorted({chance.choice(words(chance.choice(passages).text)) for _ in range(3)}) if passages else ["kx1"]
    year = chance.randint(1992, 2018)
    tree = {"or": [{"tag": "red"}, {"year": {"gte": year}}]}

    def allowed(document: Document) -> bool:
        return document.metadata.get("tag") == "red" or document.metadata["year"] >= year

    settings = SETTINGS[name]
    dense = dense_scores(passages, query) if passages else np.empty(0)
    sparse = np.array(bm25_scores(passages, terms, k1=settings.k1, b=settings.b)) if passages else np.empty(0)
    places = [(passage.document_id, passage.start) for passage in passages]
    chosen = np.array([allowed(documents[passage.document_id]) for passage in passages], dtype=bool)
    with views.open(name) as view:
        ids = view.filter(parse_filter(tree))
        if sorted(_places(view, ids)) != sorted(place for place, is_in in zip(places, chosen, strict=True) if is_in):
            findings.add("search", f"{name}: the filter {tree} finds others")
        if view.passage_count != len(passages):
            findings.add("search", f"{name}: {view.passage_count} passages are searched, not {len(passages)}")
        vector = query.astype(np.float32)
        weighted = dict.fromkeys(terms, 1.0)
        for what, pool, scores, among in (
            ("dense", view.nearest(vector, _DEPTH), dense, np.ones(len(places), bool)),
            ("dense, filtered", view.nearest(vector, _DEPTH, ids), dense, chosen),
            ("sparse", view.matching(weighted, _DEPTH), sparse, sparse > 0),
            ("sparse, filtered", view.matching(weighted, _DEPTH, ids), sparse, chosen & (sparse > 0)),
        ):
            right = {place: score for place, score, is_in in zip(places, scores, among, strict=True) if is_in}
            best = sorted(right.values(), reverse=True)[:_DEPTH]
            own = [right.get(place, np.nan) for place in _places(view, pool.ids)]
            same = len(own) == len(best) and len(set(pool.ids.tolist())) == len(best)
            if not (same and np.allclose(pool.scores, best, atol=1e-6) and np.allclose(own, best, atol=1e-6)):
                findings.add("search", f"{name}, {what}: {own} for {terms}; it must be {best}")
            findings.searches += 1
        score_of = dict(zip(places, dense.tolist(), strict=True))
        for what, among in (
            ("codes", view.filter(parse_filter({"or": [tree, {"not": tree}]}))),
            ("codes, filtered", ids),
        ):
            found = zip(among.tolist(), _places(view, among), strict=True)
            known: dict[int, float] = {id_: score_of.get(place, np.nan) for id_, place in found}
            problem = search_problem(view, query, known, _DEPTH)
            if problem is not None:
                findings.add("search", f"{name}, {what}: {problem}")
            findings.searches += 1


def _places(view: View, ids: Int64Array) -> list[tuple[str, int]]:
    return [(hit.document_id, hit.passage.start) for hit in view.fetch(ids)]
