"""Endpoints for aliases (second names of collections), for the operator."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path

from app.access.auditing import audited_write
from app.api.dependencies import Known, Parts
from app.api.links import ALIAS_SET
from app.schemas.reindexes import AliasBody, AliasList, SetAlias
from store.aliases import delete_alias, get_alias, list_aliases, set_alias

router = APIRouter(prefix="/v1/admin/aliases", tags=["admin"])

_SET = {"set": {"summary": "It is the collection articles from now on", "value": {"collection": "articles"}}}
Name = Annotated[str, Path(description="the alias", examples=["current"])]


@router.get("", operation_id="list_aliases", summary="List aliases")
def list_all(parts: Parts) -> AliasList:
    """Every alias, sorted by name, and the collection it stands for."""
    with parts.database.read() as session:
        return AliasList(aliases=[AliasBody.of(found) for found in list_aliases(session)])


@router.get("/{alias}", operation_id="get_alias", summary="Get an alias")
def get(parts: Parts, alias: Name) -> AliasBody:
    """The collection that the alias stands for."""
    with parts.database.read() as session:
        return AliasBody.of(get_alias(session, alias))


@router.put("/{alias}", responses={200: ALIAS_SET}, operation_id="set_alias", summary="Set or move an alias")
def put(parts: Parts, caller: Known, alias: Name, body: Annotated[SetAlias, Body(openapi_examples=_SET)]) -> AliasBody:
    """From now on, searches, reads and writes under this name go to the collection; the change is atomic."""
    with audited_write(parts.database, caller.who, "alias.set", alias) as session:
        return AliasBody.of(set_alias(session, alias, body.collection))


@router.delete("/{alias}", status_code=204, operation_id="delete_alias", summary="Delete an alias")
def delete(parts: Parts, caller: Known, alias: Name) -> None:
    """The collection itself is kept."""
    with audited_write(parts.database, caller.who, "alias.delete", alias) as session:
        delete_alias(session, alias)
