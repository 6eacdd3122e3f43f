"""The database tables, one module per area. migrations/ creates them; a test keeps both in agreement.

An index on columns that nothing searches by is there as a second copy of their values: see store/checksum.py.
"""

from __future__ import annotations

from store.schema.access import api_key, audit
from store.schema.base import MAX_ID, metadata
from store.schema.changes import change, segment
from store.schema.collections import alias, collection, generation
from store.schema.documents import document, document_field, embedding, field, passage, term
from store.schema.jobs import job, job_batch, job_notice
from store.schema.passageindex import passage_index, term_count
from store.schema.reindexes import NOT_BEGUN, UNHINDERED, reindex, reindex_pending

__all__ = [
    "MAX_ID",
    "NOT_BEGUN",
    "UNHINDERED",
    "alias",
    "api_key",
    "audit",
    "change",
    "collection",
    "document",
    "document_field",
    "embedding",
    "field",
    "generation",
    "job",
    "job_batch",
    "job_notice",
    "metadata",
    "passage",
    "passage_index",
    "reindex",
    "reindex_pending",
    "segment",
    "term",
    "term_count",
]
