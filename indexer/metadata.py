"""Change a document's metadata. Its text and passages stay, and nothing is embedded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from indexer.fields import check_metadata
from store.batch import Batch, Draft, Receipt
from store.catalog import get_collection
from store.commit import commit
from store.database import Database
from store.documents import get_document
from store.filters.metadata import StoredMetadata


def change_metadata(database: Database, collection_name: str, document_id: str, patch: Mapping[str, Any]) -> Receipt:
    """Merge `patch` into the metadata of a document, in one transaction. Needs no model.

    `patch` is a JSON Merge Patch (RFC 7396): null removes a field, objects are merged, any other value replaces the old
    one. Raises CollectionNotFound, DocumentNotFound, InvalidDocument for a value that cannot be stored, TooLarge, and
    StorageError.
    """
    check_metadata(patch)
    with database.write() as session:
        collection = get_collection(session, collection_name)
        stored = get_document(session, collection.id, document_id)
        metadata = merged(stored.document.metadata, patch)
        check_metadata(metadata)
        document = replace(stored.document, metadata=metadata)
        changed = Draft(
            document=document,
            metadata=StoredMetadata.of(document, collection.settings.fields),
            language=stored.language,
            content_sha=stored.content_sha,
            passages=(),  # the content is the same, so the stored passages stay
        )
        return commit(session, Batch.without_model(collection, drafts=[changed]))


def merged(target: Any, patch: Any) -> Any:
    """Apply a JSON Merge Patch (RFC 7396) to `target` and return the result. Neither argument is changed."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
