"""Collections and their generations."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from core.errors import CollectionExists, CollectionNotFound, InvalidSettings
from core.passages import MAX_TITLE_WEIGHT
from core.records import (
    DECLARABLE,
    Collection,
    CollectionSettings,
    FieldKind,
    Generation,
    GenerationState,
    IndexKind,
    Scoring,
    SparseScoring,
)
from core.synonyms import check_synonyms
from store import schema
from store.database import ReadSession, WriteSession
from store.filters.metadata import MAX_NAME, is_unicode
from store.jobs import fail_jobs_of
from store.jobs.lease import database_now

CHANGEABLE = ("alpha", "k1", "b", "synonyms")  # settings that nothing stored depends on
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LANGUAGE = re.compile(r"auto|[a-z]{2,3}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    documents: int
    passages: int


def create_collection(
    session: WriteSession,
    name: str,
    settings: CollectionSettings,
    *,
    model: str,
    fingerprint: str,
    dimension: int,
    sparse_model: str | None = None,
    sparse_fingerprint: str | None = None,
) -> Collection:
    """Create a collection with one active generation, that of the encoder which `fingerprint` identifies.

    `sparse_model` and `sparse_fingerprint`: of the sparse encoder, where the settings ask for learned weights.

    Raises InvalidSettings for a name or settings that are not allowed, CollectionExists for a name that is taken.
    """
    check_name(name)
    check_settings(settings)
    _check_sparse_model(settings.sparse, sparse_model)
    if session.execute(sa.select(schema.collection.c.id).where(schema.collection.c.name == name)).first():
        raise CollectionExists(f"there is already a collection {name!r}; choose another name", param="name")
    collection_id = _insert(
        session, schema.collection, name=name, settings=json.dumps(asdict(settings)), created_at=_now()
    )
    _insert(
        session,
        schema.generation,
        collection_id=collection_id,
        model=model,
        fingerprint=fingerprint,
        dimension=dimension,
        state=GenerationState.ACTIVE.value,
        sparse_model=sparse_model,
        sparse_fingerprint=sparse_fingerprint,
    )
    for field, kind in settings.fields.items():
        _insert(session, schema.field, collection_id=collection_id, name=field, kind=kind.value)
    return get_collection(session, name)


def get_collection(session: ReadSession, name: str) -> Collection:
    """Raises CollectionNotFound, which names the collections that there are."""
    # A name that could not have been created is not asked for: it may hold what SQLite cannot take.
    if _NAME.fullmatch(name):
        row = session.execute(_collections().where(schema.collection.c.name == name)).first()
        if row:
            return _collection(row)
    raise CollectionNotFound(_no_such_collection(session, name), param="collection")


def list_collections(session: ReadSession) -> list[Collection]:
    """Every collection, by name."""
    return [_collection(row) for row in session.execute(_collections().order_by(schema.collection.c.name))]


def delete_collection(session: WriteSession, name: str) -> None:
    """Delete a collection and all that belongs to it; its jobs fail. Raises CollectionNotFound."""
    collection = get_collection(session, name)
    fail_jobs_of(session, collection.id, name, now=database_now(session))
    session.execute(sa.delete(schema.collection).where(schema.collection.c.id == collection.id))


def change_scoring(session: WriteSession, name: str, scoring: Scoring) -> Collection:
    """Change what the collection's searches score by; the next one goes by it.

    Raises CollectionNotFound, InvalidSettings.
    """
    return change_settings(session, name, asdict(scoring))


def change_settings(session: WriteSession, name: str, changes: Mapping[str, Any]) -> Collection:
    """Change settings that nothing stored depends on, those of CHANGEABLE; the next search goes by them.

    Raises CollectionNotFound, InvalidSettings, also for a setting that documents were stored by.
    """
    collection = get_collection(session, name)
    for setting in changes:
        check_changeable(setting)
    settings = replace(collection.settings, **changes)
    check_settings(settings)
    session.execute(
        sa.update(schema.collection)
        .where(schema.collection.c.id == collection.id)
        .values(settings=json.dumps(asdict(settings)))
    )
    return get_collection(session, name)


def counts(session: ReadSession, collection_id: int) -> Counts:
    """How many documents and passages a collection holds."""
    documents = sa.select(sa.func.count()).where(schema.document.c.collection_id == collection_id)
    passages = (
        sa.select(sa.func.count())
        .select_from(schema.passage.join(schema.document))
        .where(schema.document.c.collection_id == collection_id)
    )
    return Counts(
        documents=int(session.execute(documents).scalar_one()), passages=int(session.execute(passages).scalar_one())
    )


def check_changeable(setting: str) -> None:
    """Raises InvalidSettings unless the setting of a collection can be changed while it holds documents."""
    if setting in CHANGEABLE:
        return
    if setting in CollectionSettings.__dataclass_fields__:
        raise InvalidSettings(
            f"{setting} cannot be changed: the documents were stored by it. Make another collection with it, and add "
            f"them there; what can be changed is {', '.join(CHANGEABLE)}",
            param=setting,
        )
    near = difflib.get_close_matches(setting, CHANGEABLE, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"what can be changed is {', '.join(CHANGEABLE)}"
    raise InvalidSettings(f"there is no setting {setting!r:.140}; {hint}", param=setting)


def check_name(name: str) -> None:
    """Raises InvalidSettings unless `name` may name a collection."""
    if not _NAME.fullmatch(name):
        raise InvalidSettings(
            f"collection name {name!r:.140}: must be 1 to 128 of the characters A-Z a-z 0-9 . _ - "
            "and begin with a letter or digit",
            param="name",
        )


def check_settings(settings: CollectionSettings) -> None:
    """Raises InvalidSettings that names the setting and what is allowed for it."""
    if not _LANGUAGE.fullmatch(settings.language):
        raise InvalidSettings(
            f"language {settings.language!r}: must be an ISO 639-1 code such as 'en', or 'auto'", param="language"
        )
    tokens = settings.passage_tokens
    if tokens is not None and tokens < 1:
        raise InvalidSettings(f"passage_tokens {tokens}: must be 1 or more", param="passage_tokens")
    if settings.overlap_tokens < 0 or (tokens is not None and settings.overlap_tokens >= tokens):
        raise InvalidSettings(
            f"overlap_tokens {settings.overlap_tokens}: must be 0 or more and less than passage_tokens",
            param="overlap_tokens",
        )
    if not (math.isfinite(settings.k1) and settings.k1 >= 0):
        raise InvalidSettings(f"k1 {settings.k1}: must be a finite number, 0 or more", param="k1")
    if not 0 <= settings.b <= 1:
        raise InvalidSettings(f"b {settings.b}: must be between 0 and 1", param="b")
    if not 0 <= settings.title_weight <= MAX_TITLE_WEIGHT:
        raise InvalidSettings(
            f"title_weight {settings.title_weight}: must be a whole number from 0 to {MAX_TITLE_WEIGHT}",
            param="title_weight",
        )
    if not 0 <= settings.alpha <= 1:
        raise InvalidSettings(f"alpha {settings.alpha}: must be between 0 and 1", param="alpha")
    if settings.sparse not in tuple(SparseScoring):
        raise InvalidSettings(f"sparse {settings.sparse!r}: must be one of {', '.join(SparseScoring)}", param="sparse")
    if settings.index not in tuple(IndexKind):
        raise InvalidSettings(f"index {settings.index!r}: must be one of {', '.join(IndexKind)}", param="index")
    check_synonyms(settings.synonyms)
    for field, kind in settings.fields.items():
        if not (0 < len(field) <= MAX_NAME and is_unicode(field)):
            raise InvalidSettings(
                f"field {field!r:.140}: its name must have 1 to {MAX_NAME} characters and be valid Unicode",
                param="fields",
            )
        if kind not in DECLARABLE:
            raise InvalidSettings(
                f"field {field!r}: kind {kind!r} must be one of {', '.join(DECLARABLE)}", param="fields"
            )


@lru_cache(maxsize=256)  # every search asks, and synonyms may be many
def parse_settings(stored: str) -> CollectionSettings:
    """Settings as they are stored. Raises ValueError, TypeError, KeyError or AttributeError for what is none."""
    settings = {"title_weight": 1, **json.loads(stored)}  # as it was before there was a setting
    settings["fields"] = {name: FieldKind(kind) for name, kind in settings["fields"].items()}
    settings["sparse"] = SparseScoring(settings.get("sparse", SparseScoring.BM25))  # older ones had no choice
    settings["index"] = IndexKind(settings.get("index", IndexKind.AUTO))
    settings["synonyms"] = {word: tuple(others) for word, others in settings.get("synonyms", {}).items()}
    return CollectionSettings(**settings)


def _check_sparse_model(scoring: SparseScoring, model: str | None) -> None:
    if scoring is SparseScoring.BM25 and model is not None:
        raise InvalidSettings(
            f"sparse is bm25, which takes no model: leave {model!r} out, or ask for learned or both", param="sparse"
        )
    if scoring is not SparseScoring.BM25 and model is None:
        raise InvalidSettings(f"sparse is {scoring.value}: name the sparse model as well", param="sparse_model")


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


def _collection(row: sa.Row[Any]) -> Collection:
    return Collection(
        id=row.id,
        name=row.name,
        settings=parse_settings(row.settings),
        active=Generation(
            id=row.generation_id,
            collection_id=row.id,
            model=row.model,
            fingerprint=row.fingerprint,
            dimension=row.dimension,
            state=GenerationState(row.state),
            sparse_model=row.sparse_model,
            sparse_fingerprint=row.sparse_fingerprint,
        ),
        created_at=row.created_at,
    )


def _no_such_collection(session: ReadSession, name: str) -> str:
    names = list(session.execute(sa.select(schema.collection.c.name).order_by(schema.collection.c.name)).scalars())
    message = f"there is no collection {name!r:.140}"
    if not names:
        return f"{message}; there are none yet"
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f"{message}; did you mean {' or '.join(map(repr, near))}?"
    shown = ", ".join(map(repr, names[:5]))
    return f"{message}; there {'are' if len(names) > 1 else 'is'} {shown}{' and others' if len(names) > 5 else ''}"


def _insert(session: WriteSession, table: sa.Table, **row: str | int | None) -> int:
    key = session.execute(sa.insert(table), row).inserted_primary_key
    assert key is not None
    return int(key[0])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
