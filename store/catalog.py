"""Collections and their generations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NotRequired, TypedDict, Unpack

import sqlalchemy as sa

from core.errors import CollectionExists, CollectionNotFound, Conflict
from core.filters import Filter
from core.naming import HIDDEN, check_stored_name, hidden_name, is_hidden, is_stored_name, tenant_of
from core.records import Collection, CollectionSettings, Generation, GenerationState, IndexKind, Scoring
from core.reindexes import ReindexState
from store import schema
from store.clock import database_now
from store.closest import closest
from store.database import ReadSession, WriteSession
from store.documents import TEXT_LENGTH
from store.filters.sql import documents_where, listed, read_ids
from store.jobs import fail_jobs_of
from store.passageindex.record import insert_record
from store.prepared import Prepared
from store.settings import check_changeable, check_given, check_settings, check_sparse_model, parse_settings
from store.visibility import Patterns, name_among

_DELETED = "the collection was deleted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    documents: int
    passages: int


class Encoders(TypedDict):
    """The encoders of a generation."""

    model: str  # the encoder's name
    fingerprint: str
    dimension: int
    sparse_model: NotRequired[str | None]  # the sparse encoder's name, where the settings ask for learned weights
    sparse_fingerprint: NotRequired[str | None]


def create_collection(
    session: WriteSession,
    name: str,
    settings: CollectionSettings,
    **encoders: Unpack[Encoders],
) -> Collection:
    """Create a collection with one generation, made by these encoders.

    Raises InvalidSettings for a name or settings that are not allowed, CollectionExists for a name that is taken.
    """
    check_stored_name(name)
    if session.execute(sa.select(schema.collection.c.id).where(schema.collection.c.name == name)).first():
        raise CollectionExists(f"there is already a collection {name!r}; choose another name", param="name")
    if session.execute(sa.select(schema.alias.c.id).where(schema.alias.c.name == name)).first():
        raise CollectionExists(f"{name!r} is an alias of a collection; choose another name", param="name")
    check_given(settings.k1)
    return _create(session, name, settings, created_at=_now(), **encoders)


def create_hidden(
    session: WriteSession,
    collection: Collection,
    settings: CollectionSettings,
    **encoders: Unpack[Encoders],
) -> Collection:
    """Create another, empty generation of the collection, hidden from searches. Raises InvalidSettings."""
    return _create(session, _next_hidden(session, collection), settings, created_at=collection.created_at, **encoders)


def _create(
    session: WriteSession,
    name: str,
    settings: CollectionSettings,
    *,
    created_at: str,
    **encoders: Unpack[Encoders],
) -> Collection:
    check_settings(settings)
    check_sparse_model(settings.sparse, encoders.get("sparse_model"))
    collection_id = _insert(
        session, schema.collection, name=name, settings=json.dumps(asdict(settings)), created_at=created_at
    )
    generation_id = _insert(
        session,
        schema.generation,
        collection_id=collection_id,
        state=GenerationState.ACTIVE.value,
        **encoders,
    )
    if settings.index is IndexKind.MILVUS:
        insert_record(session, generation_id)
    for field, kind in settings.fields.items():
        _insert(session, schema.field, collection_id=collection_id, name=field, kind=kind.value)
    return find_collection(session, name)


def get_collection(session: ReadSession, name: str) -> Collection:
    """The collection with this name or alias. Raises CollectionNotFound, which suggests existing ones."""
    # A name that could not have been created is not looked up: it may hold characters that SQLite cannot take.
    if is_stored_name(name):
        rows = _NAMED.rows(session, name=name) or _ALIASED.rows(session, name=name)
        if rows:
            return _collection(rows[0])
    raise CollectionNotFound(f"there is no collection {name!r:.140}", param="collection", hint=_others(session, name))


def find_collection(session: ReadSession, name: str) -> Collection:
    """Like `get_collection`, but also finds a hidden generation by its own name, to search or fill it."""
    if is_hidden(name):
        rows = _NAMED.rows(session, name=name)
        if rows:
            return _collection(rows[0])
    return get_collection(session, name)


def list_collections(session: ReadSession) -> list[Collection]:
    """Every collection, ordered by name, without hidden generations."""
    rows = session.execute(_collections().where(_visible()).order_by(schema.collection.c.name))
    return [_collection(tuple(row)) for row in rows]


def has_collections(session: ReadSession) -> bool:
    """Whether there are any collections. Reads one row at most."""
    return session.execute(sa.select(schema.collection.c.id).limit(1)).first() is not None


def stored_names(session: ReadSession) -> list[str]:
    """The names of all collections, in order, without hidden generations."""
    names = sa.select(schema.collection.c.name).where(_visible()).order_by(schema.collection.c.name)
    return list(session.execute(names).scalars())


def delete_collection(session: WriteSession, name: str, *, among: Patterns | None = None) -> None:
    """Delete a collection with its hidden generation; its jobs and its reindex end, and its name becomes free.

    From now on nobody finds it, and nothing is derived from it. Its rows are removed in pieces, like those that a
    reindex leaves behind: see store/reindex/dropping.py. Raises CollectionNotFound, and Conflict where an alias points
    at it; the message names only an alias that `among` matches (None: any alias).
    """
    collection, now = get_collection(session, name), database_now(session)
    alias = schema.alias.c
    seen = sa.true() if among is None else name_among(alias.name, among)
    aliases = sa.select(alias.name, seen.label("seen")).where(alias.collection_id == collection.id)
    pointing = session.execute(aliases.order_by(sa.desc("seen"), alias.name).limit(1)).first()
    if pointing is not None:
        which = f"the alias {pointing.name!r}" if pointing.seen else "an alias"
        raise Conflict(
            f"{which} points at the collection {collection.name!r}: move or delete it first", param="collection"
        )
    fail_jobs_of(session, collection.id, collection.name, now=now)
    reindex, ended = schema.reindex, {"state": ReindexState.CANCELLED.value, "reason": _DELETED, "ended_at": now}
    unfinished = sa.update(reindex).where(reindex.c.serving_id == collection.id, reindex.c.hidden_id.is_not(None))
    ending = unfinished.values({**ended, **schema.UNHINDERED}).returning(reindex.c.hidden_id)
    for id_ in [*session.execute(ending).scalars(), collection.id]:
        _retire(session, id_)
    for table, column in ((schema.job, schema.job.c.collection_id), (reindex, reindex.c.serving_id)):
        session.execute(sa.update(table).where(column == collection.id).values({column: None}))
    name = _next_hidden(session, collection)
    session.execute(sa.update(schema.collection).where(schema.collection.c.id == collection.id).values(name=name))
    asked = dict.fromkeys(("share", "auto_switch", "grace_seconds", "min_recall"), 0)
    left = {"collection": name, "hidden_id": collection.id, "created_at": now}  # a name that nobody asks for
    session.execute(sa.insert(reindex), {**schema.NOT_BEGUN, **asked, **ended, **left})


def _retire(session: WriteSession, collection_id: int) -> None:
    """Retire the collection's generations: nobody finds or seals them, and their segment files and indexes go."""
    columns = schema.generation.c
    generations = sa.select(columns.id).where(columns.collection_id == collection_id)
    session.execute(sa.delete(schema.segment).where(schema.segment.c.generation_id.in_(generations)))
    index = schema.passage_index
    session.execute(sa.update(index).where(index.c.generation_id.in_(generations)).values(generation_id=None))
    retired = sa.update(schema.generation).where(columns.collection_id == collection_id)
    session.execute(retired.values(state=GenerationState.RETIRED.value))


def change_scoring(session: WriteSession, name: str, scoring: Scoring) -> Collection:
    """Change the scoring settings of a collection, effective from the next search.

    Raises CollectionNotFound, InvalidSettings.
    """
    return change_settings(session, name, asdict(scoring))


def change_settings(session: WriteSession, name: str, changes: Mapping[str, Any]) -> Collection:
    """Change settings that no stored data depends on, those of CHANGEABLE, effective from the next search.

    Raises CollectionNotFound, InvalidSettings; the latter also for a setting that stored documents depend on.
    """
    collection = get_collection(session, name)
    for setting in changes:
        check_changeable(setting)
    settings = replace(collection.settings, **changes)
    if "k1" in changes:
        check_given(settings.k1)
    check_settings(settings)
    session.execute(
        sa.update(schema.collection)
        .where(schema.collection.c.id == collection.id)
        .values(settings=json.dumps(asdict(settings)))
    )
    return get_collection(session, name)


def counts(session: ReadSession, collection_id: int, within: Filter | None = None) -> Counts:
    """How many documents and passages a collection holds.

    `within`: count only the documents that satisfy it.
    """
    if within is not None:
        document, passage = schema.document.c, schema.passage.c
        seen = documents_where(session, collection_id, within, silent=True)
        own = (passage.document_id == document.id, document.collection_id == collection_id)
        of_passages = read_ids(session, passage.document_id, *own)
        documents = len(listed(session, collection_id, seen))
        return Counts(documents=documents, passages=int(seen.holds(of_passages).sum()))
    ((documents,),) = _DOCUMENTS.rows(session, id=collection_id)
    ((passages,),) = _PASSAGES.rows(session, id=collection_id)
    return Counts(documents=documents, passages=passages)


def characters(session: ReadSession, collection_id: int) -> int:
    """Number of characters in the titles and texts of the collection's documents. Reads all of them."""
    length = sa.select(sa.func.sum(TEXT_LENGTH)).where(schema.document.c.collection_id == collection_id)
    return int(session.execute(length).scalar() or 0)


def _visible() -> sa.ColumnElement[bool]:
    return sa.func.instr(schema.collection.c.name, HIDDEN) == 0


def _collections() -> sa.Select[Any]:
    active = schema.generation.c.state == GenerationState.ACTIVE.value
    return sa.select(
        schema.collection,
        schema.generation.c.id.label("generation_id"),
        schema.generation.c.model,
        schema.generation.c.fingerprint,
        schema.generation.c.dimension,
        schema.generation.c.state,
        schema.generation.c.sparse_model,
        schema.generation.c.sparse_fingerprint,
    ).join(schema.generation, (schema.generation.c.collection_id == schema.collection.c.id) & active)


_NAMED = Prepared(_collections().where(schema.collection.c.name == sa.bindparam("name")))
_ALIASED = Prepared(
    _collections().where(
        schema.collection.c.id
        == sa.select(schema.alias.c.collection_id).where(schema.alias.c.name == sa.bindparam("name")).scalar_subquery()
    )
)
_OF_COLLECTION = schema.document.c.collection_id == sa.bindparam("id")
# Prepared, because a list of collections counts those of each.
_DOCUMENTS = Prepared(sa.select(sa.func.count()).where(_OF_COLLECTION))
_PASSAGES = Prepared(sa.select(sa.func.count()).select_from(schema.passage.join(schema.document)).where(_OF_COLLECTION))


@lru_cache(maxsize=256)  # called by every search
def _collection(row: tuple[Any, ...]) -> Collection:
    """The collection of a row of `_collections`."""
    id_, name, settings, created_at, generation, model, fingerprint, dimension, state, sparse, sparse_fingerprint = row
    return Collection(
        id=id_,
        name=name,
        settings=parse_settings(settings),
        active=Generation(
            id=generation,
            collection_id=id_,
            model=model,
            fingerprint=fingerprint,
            dimension=dimension,
            state=GenerationState(state),
            sparse_model=sparse,
            sparse_fingerprint=sparse_fingerprint,
        ),
        created_at=created_at,
    )


def _others(session: ReadSession, name: str) -> str:
    """A hint that suggests existing collections; those of other tenants are not revealed."""
    names = [found for found in stored_names(session) if tenant_of(found) == tenant_of(name)]
    if not names:
        return "there are none yet"
    if near := closest(name, names):
        return f"did you mean {' or '.join(map(repr, near))}?"
    shown = ", ".join(map(repr, names[:5]))
    return f"there {'are' if len(names) > 1 else 'is'} {shown}{' and others' if len(names) > 5 else ''}"


def _next_hidden(session: ReadSession, collection: Collection) -> str:
    """The name of the next hidden generation: it carries the id of the reindex that begins next."""
    newest = session.execute(sa.select(sa.func.coalesce(sa.func.max(schema.reindex.c.id), 0))).scalar_one()
    return hidden_name(collection.name, int(newest) + 1)


def _insert(session: WriteSession, table: sa.Table, **row: str | int | None) -> int:
    key = session.execute(sa.insert(table), row).inserted_primary_key
    assert key is not None
    return int(key[0])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
