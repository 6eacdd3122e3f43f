"""Durable storage: SQLite is the source of truth; searches are answered from snapshots in memory.

Database.open(data_dir)            the database file, its transactions and its errors
catalog                            collections and their generations
commit.commit(session, Batch)      the only write path: documents, passages, embeddings, changes
Views(database).open(name)         one committed state of one collection, to search and to fetch from
documents                          documents by id, and pages of them

segments, filters, jobs            sealed segments; filterable metadata; documents queued for indexing
verify, repair                     checks that what is stored is what was written; repairs what is not
"""

from __future__ import annotations

from store.batch import Batch, Draft, DraftPassage, Embedding, Receipt
from store.database import Database, ReadSession, WriteSession
from store.documents import StoredDocument, StoredPassage
from store.pool import Pool, TermStatistics
from store.view import View
from store.views import Views

__all__ = [
    "Batch",
    "Database",
    "Draft",
    "DraftPassage",
    "Embedding",
    "Pool",
    "ReadSession",
    "Receipt",
    "StoredDocument",
    "StoredPassage",
    "TermStatistics",
    "View",
    "Views",
    "WriteSession",
]
