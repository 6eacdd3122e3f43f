"""Deleting the documents that satisfy a filter."""

from __future__ import annotations

from dataclasses import dataclass

from core.filters import Filter
from store.batch import Batch
from store.catalog import get_collection
from store.commit import commit
from store.database import Database
from store.filters.sql import external_ids_where

_BATCH_DOCUMENTS = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletion:
    """What became of it."""

    seq: int  # a view of this seq or a higher one holds it
    deleted: int  # documents


def delete_where(database: Database, collection_name: str, tree: Filter, *, within: Filter | None = None) -> Deletion:
    """Delete every document that satisfies `tree`, in batches that are committed one by one. Needs no model.

    A document goes only if it satisfies the filter in the very transaction that deletes it. When a later batch fails,
    the earlier ones stay deleted: ask again. `within`: as if there were none but the documents that satisfy it, too.

    Raises CollectionNotFound, InvalidFilter and StorageError.
    """
    deleted = 0
    while True:
        with database.write() as session:
            collection = get_collection(session, collection_name)
            ids = external_ids_where(session, collection.id, tree, limit=_BATCH_DOCUMENTS, within=within)
            receipt = commit(session, Batch.without_model(collection, deletions=ids))
        deleted += receipt.deleted
        if len(ids) < _BATCH_DOCUMENTS:
            return Deletion(seq=receipt.seq, deleted=deleted)
