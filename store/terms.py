"""The terms of a collection: their texts and ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import sqlalchemy as sa

from core.records import SparseVector
from core.unicode import is_unicode
from store import schema
from store.database import ReadSession, WriteSession, chunks
from store.prepared import Prepared

FREQUENCY_STEP = 2.0**-10  # frequencies are multiples of it, so that their sums in float64 are exact in any order
POSTING = np.dtype([("term", "<i4"), ("value", "<f4")])  # element of an embedding's sparse and learned BLOBs
_TERMS = Prepared(
    sa.select(schema.term.c.text, schema.term.c.id).where(
        schema.term.c.collection_id == sa.bindparam("collection"),
        schema.term.c.text.in_(sa.bindparam("texts", expanding=True)),
    )
)


def term_ids(session: ReadSession, collection_id: int, texts: Collection[str]) -> dict[str, int]:
    """The ids of those of `texts` that are terms of the collection, by text."""
    found: dict[str, int] = {}
    for chunk in chunks(text for text in texts if is_unicode(text)):  # SQLite takes no others
        found |= _TERMS.rows(session, collection=collection_id, texts=chunk)
    return found


def register_terms(session: WriteSession, collection_id: int, texts: Collection[str]) -> dict[str, int]:
    """The ids of all `texts`, adding new terms. Terms are kept when their last passage goes, and reused later."""
    known = term_ids(session, collection_id, texts)
    new = [{"collection_id": collection_id, "text": text} for text in texts if text not in known]
    if new:
        session.execute(sa.insert(schema.term), new)
        known |= term_ids(session, collection_id, [row["text"] for row in new if isinstance(row["text"], str)])
    return known


def pack_postings(frequencies: Mapping[str, float], ids: Mapping[str, int]) -> bytes:
    """The BLOB of a passage's terms, ascending by term id."""
    postings = np.empty(len(frequencies), POSTING)
    postings["term"] = [ids[text] for text in frequencies]
    postings["value"] = list(frequencies.values())
    postings.sort(order="term")
    return postings.tobytes()


def pack_vector(vector: SparseVector) -> bytes:
    """The BLOB of a passage's learned weights, ascending by token id."""
    postings = np.empty(len(vector.ids), POSTING)
    postings["term"] = vector.ids
    postings["value"] = vector.weights
    return postings.tobytes()
