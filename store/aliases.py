"""Collection aliases: searches, reads and writes follow them, and an alias is moved in one transaction."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import sqlalchemy as sa

from core.errors import AliasNotFound, CollectionExists, CollectionNotFound, InvalidSettings
from core.naming import check_stored_name, is_stored_name, tenant_of
from store import schema
from store.catalog import get_collection
from store.changes import current_seq
from store.database import ReadSession, WriteSession
from store.reindex.switching import go_beyond


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    name: str
    collection: str  # the collection's name


def set_alias(session: WriteSession, name: str, collection: str) -> Alias:
    """Make `name` an alias of the collection, replacing what it pointed at before.

    Raises InvalidSettings for a name that is not allowed, CollectionExists where a collection has that name,
    CollectionNotFound for an unknown collection.
    """
    check_stored_name(name)
    taken = session.execute(sa.select(schema.collection.c.id).where(schema.collection.c.name == name)).first()
    if taken:
        raise CollectionExists(f"there is a collection {name!r}: an alias needs a name of its own", param="alias")
    found = get_collection(session, collection)
    if tenant_of(found.name) != tenant_of(name):
        raise InvalidSettings(f"alias {name!r}: a tenant's collection has its aliases within the tenant", param="alias")
    with suppress(CollectionNotFound):  # the alias is a new one
        before = get_collection(session, name)
        go_beyond(session, found.active.id, current_seq(session, before.active.id))
    moved = sa.update(schema.alias).where(schema.alias.c.name == name).values(collection_id=found.id)
    if not session.execute(moved).rowcount:
        session.execute(sa.insert(schema.alias), {"name": name, "collection_id": found.id})
    return Alias(name=name, collection=found.name)


def list_aliases(session: ReadSession) -> list[Alias]:
    """All aliases, ordered by name."""
    return [Alias(name=row.name, collection=row.collection) for row in session.execute(_aliases())]


def get_alias(session: ReadSession, name: str) -> Alias:
    """The alias with this name. Raises AliasNotFound."""
    if is_stored_name(name):
        for row in session.execute(_aliases().where(schema.alias.c.name == name)):
            return Alias(name=row.name, collection=row.collection)
    raise AliasNotFound(f"there is no alias {name!r:.140}", param="alias")


def delete_alias(session: WriteSession, name: str) -> Alias:
    """Delete the alias and return it; the collection stays. Raises AliasNotFound."""
    alias = get_alias(session, name)
    session.execute(sa.delete(schema.alias).where(schema.alias.c.name == name))
    return alias


def _aliases() -> sa.Select[tuple[str, str]]:
    alias, collection = schema.alias.c, schema.collection.c
    found = sa.select(alias.name, collection.name.label("collection")).join_from(schema.alias, schema.collection)
    return found.order_by(alias.name)
