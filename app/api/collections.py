"""Collections: create, list, show, change, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from app.api.dependencies import CollectionName, Parts
from app.schemas import ChangeCollection, CollectionBody, CollectionList, CreateCollection
from app.stats_schemas import CollectionStatsBody
from core.records import Collection
from store.catalog import change_settings, counts, delete_collection, get_collection, list_collections
from store.database import ReadSession
from store.statistics import collection_statistics

router = APIRouter(prefix="/v1/collections", tags=["collections"])

_CREATE = {
    "plain": {"summary": "A collection with the usual settings", "value": {"name": "articles"}},
    "settings": {
        "summary": "German products with fixed kinds of fields",
        "value": {"name": "produkte", "settings": {"language": "de", "fields": {"brand": "text", "price": "number"}}},
    },
}


_CHANGE = {
    "synonyms": {
        "summary": "Synonyms: groups of words that mean the same",
        "value": {"settings": {"synonyms": [["tv", "television"], ["laptop", "notebook"]]}},
    },
    "scoring": {"summary": "How BM25 weighs length", "value": {"settings": {"b": 0.4}}},
}


@router.post("", status_code=201, operation_id="create_collection", summary="Create a collection")
def create(parts: Parts, body: Annotated[CreateCollection, Body(openapi_examples=_CREATE)]) -> CollectionBody:
    """Create an empty collection, to be embedded by the loaded model and, if one is named, by a sparse model."""
    created = parts.create_collection(body.name, body.to_settings(), sparse_model=body.sparse_model)
    return CollectionBody.of(created, documents=0, passages=0)


@router.get("", operation_id="list_collections", summary="List collections")
def list_all(parts: Parts) -> CollectionList:
    """Every collection, by name."""
    with parts.database.read() as session:
        return CollectionList(collections=[_body(session, found) for found in list_collections(session)])


@router.get("/{collection}", operation_id="get_collection", summary="Get a collection")
def get(parts: Parts, collection: CollectionName) -> CollectionBody:
    """A collection, its settings, and how much it holds."""
    with parts.database.read() as session:
        return _body(session, get_collection(session, collection))


@router.patch("/{collection}", operation_id="change_collection", summary="Change settings of a collection")
def change(
    parts: Parts, collection: CollectionName, body: Annotated[ChangeCollection, Body(openapi_examples=_CHANGE)]
) -> CollectionBody:
    """Change settings that nothing stored depends on: alpha, k1, b, synonyms. The next search goes by them."""
    with parts.database.write() as session:
        return _body(session, change_settings(session, collection, body.settings.to_changes()))


@router.get("/{collection}/stats", operation_id="get_collection_stats", summary="What a collection holds, and how")
def stats(parts: Parts, collection: CollectionName) -> CollectionStatsBody:
    """Documents, passages and bytes, segments, and what is not sealed yet. Takes longer than getting the collection."""
    with parts.database.read() as session:
        get_collection(session, collection)  # else the error names those that there are
    return CollectionStatsBody.of(collection_statistics(parts.database.directory, collection))


@router.delete("/{collection}", status_code=204, operation_id="delete_collection", summary="Delete a collection")
def delete(parts: Parts, collection: CollectionName) -> None:
    """Delete a collection and everything in it."""
    with parts.database.write() as session:
        delete_collection(session, collection)


def _body(session: ReadSession, collection: Collection) -> CollectionBody:
    held = counts(session, collection.id)
    return CollectionBody.of(collection, documents=held.documents, passages=held.passages)
