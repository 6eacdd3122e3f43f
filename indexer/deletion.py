"""Delete the documents that satisfy a filter."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from core.filters import Filter
from store.batch import Batch
from store.catalog import get_collection
from store.changes import current_seq
from store.commit import commit
from store.database import Database
from store.filters.sql import document_ids_where, external_ids_where

_FIRST_BATCH = 64  # documents
_LARGEST_BATCH = 2_000
_BATCH_SECONDS = 0.2  # target time of a batch, for which other writers wait; smaller batches take longer in all


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletion:
    """The outcome of `delete_where`."""

    seq: int  # a view of this seq or a higher one shows the deletion
    deleted: int  # number of documents


def delete_where(database: Database, collection_name: str, tree: Filter, *, within: Filter | None = None) -> Deletion:
    """Delete every document that satisfies `tree`, in batches that are committed one by one. Needs no model.

    Matching documents are searched for outside the write transactions, until there are none left. A document is deleted
    only if it still satisfies the filter in the transaction that deletes it. If a later batch fails, the earlier ones
    stay deleted; call again for the rest. With `within`, only documents that also satisfy that filter are considered.

    Raises CollectionNotFound, InvalidFilter and StorageError.
    """
    deleted, size = 0, _FIRST_BATCH
    while True:
        with database.read() as session:
            collection = get_collection(session, collection_name)
            left = np.sort(document_ids_where(session, collection.id, tree, within=within))
            seq = current_seq(session, collection.active.id)
        before = deleted
        while len(left):
            batch, left = left[:size].tolist(), left[size:]
            with database.write() as session:
                began = time.monotonic()
                collection = get_collection(session, collection_name)
                ids = external_ids_where(session, collection.id, tree, among=batch, within=within)
                deleted += commit(session, Batch.without_model(collection, deletions=ids)).deleted
            size = _next_size(size, time.monotonic() - began)
        if deleted == before:
            return Deletion(seq=seq, deleted=deleted)


def _next_size(size: int, seconds: float) -> int:
    """The next batch's size, after one of `size` documents took `seconds`: the cost of deleting a document varies."""
    return max(1, min(_LARGEST_BATCH, 2 * size, int(size * _BATCH_SECONDS / max(seconds, 1e-6))))
