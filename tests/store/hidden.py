"""A hidden generation beside a collection."""

from __future__ import annotations

from core.records import Collection, CollectionSettings
from core.reindexes import Reindex
from store import Database
from store.catalog import create_hidden
from store.reindex.record import begin
from store.verify import verify
from tests.store.library import DIMENSION, FINGERPRINT

NOW = 1_800_000_000.0
OPTIONS = {
    "share": 0.5, "auto_switch": True, "grace_seconds": 60.0, "min_recall": 0.9, "judgements": None, "min_gain": None,
    "total": 0, "now": NOW,
}  # fmt: skip


def reindex(database: Database, books: Collection) -> tuple[Reindex, Collection]:
    with database.write() as session:
        settings = CollectionSettings(language="de")
        hidden = create_hidden(session, books, settings, model="test", fingerprint=FINGERPRINT, dimension=DIMENSION)
        return begin(session, books, hidden, **OPTIONS), hidden  # type: ignore[arg-type]


def other_findings(database: Database) -> list[tuple[str, str]]:
    """But for the vectors, which are of whole numbers here."""
    found = verify(database.directory).findings
    return [(finding.where, finding.problem) for finding in found if finding.check != "embeddings"]
