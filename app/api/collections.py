"""Endpoints for collections: create, list, get, change, delete."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body

from app.access.allowances import check_collections
from app.access.auditing import audited, audited_write
from app.access.caller import Caller
from app.api.dependencies import CollectionName, Known, Parts
from app.api.links import COLLECTION_MADE
from app.api.serialized import serialized
from app.schemas.collections import ChangeCollection, CollectionBody, CollectionList, CreateCollection
from app.schemas.stats import CollectionStatsBody
from core.records import Collection
from store.catalog import change_settings, delete_collection, get_collection, list_collections
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


@router.post(
    "",
    status_code=201,
    responses={201: COLLECTION_MADE},
    operation_id="create_collection",
    summary="Create a collection",
)
def create(
    parts: Parts, caller: Known, body: Annotated[CreateCollection, Body(openapi_examples=_CREATE)]
) -> CollectionBody:
    """Create an empty collection, to be embedded by the main model or by the configured models named in the body."""
    name, settings = caller.new_collection(body.name), body.to_settings()
    with audited(parts.database, caller.who, "collection.create", name):
        created = parts.create_collection(
            name,
            settings,
            model=body.model,
            sparse_model=body.sparse_model,
            check=partial(check_collections, caller=caller),
        )
    return CollectionBody.of(caller.shown_collection(created), documents=0, passages=0)


@router.get("", operation_id="list_collections", summary="List collections")
@serialized
def list_all(parts: Parts, caller: Known) -> CollectionList:
    """Every collection that the key may see, sorted by name."""
    with parts.database.read() as session:
        seen = [found for found in list_collections(session) if caller.sees(found.name)]
        return CollectionList(collections=[_body(session, caller, found) for found in seen])


@router.get("/{collection}", operation_id="get_collection", summary="Get a collection")
def get(parts: Parts, caller: Known, collection: CollectionName) -> CollectionBody:
    """A collection, its settings, and how much it holds."""
    with parts.database.read() as session:
        return _body(session, caller, get_collection(session, collection))


@router.patch("/{collection}", operation_id="change_collection", summary="Change settings of a collection")
def change(
    parts: Parts,
    caller: Known,
    collection: CollectionName,
    body: Annotated[ChangeCollection, Body(openapi_examples=_CHANGE)],
) -> CollectionBody:
    """Change settings that nothing stored depends on: alpha, k1, b, synonyms. The next search uses them."""
    changes = body.settings.to_changes()
    with audited_write(parts.database, caller.who, "collection.change", collection) as session:
        return _body(session, caller, change_settings(session, collection, changes))


@router.get("/{collection}/stats", operation_id="get_collection_stats", summary="What a collection holds, and how")
def stats(parts: Parts, caller: Known, collection: CollectionName) -> CollectionStatsBody:
    """Documents, passages and bytes, segments, and what is not sealed yet. Takes longer than getting the collection."""
    with parts.database.read() as session:
        stored = get_collection(session, collection).name  # its error lists the known ones
    found = collection_statistics(parts.database.directory, stored)
    return CollectionStatsBody.of(replace(found, name=caller.shown(found.name)))


@router.delete("/{collection}", status_code=204, operation_id="delete_collection", summary="Delete a collection")
def delete(parts: Parts, caller: Known, collection: CollectionName) -> None:
    """Delete a collection and everything in it."""
    with audited_write(parts.database, caller.who, "collection.delete", collection) as session:
        delete_collection(session, collection, among=caller.among)


def _body(session: ReadSession, caller: Caller, collection: Collection) -> CollectionBody:
    return CollectionBody.held(session, caller.shown_collection(collection), within=caller.rows)
