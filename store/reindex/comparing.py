"""Compare the hidden generation with the serving one: whether it has the same documents, all of them searchable."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from core.context import check_awaited
from core.reindexes import Reindex
from store import schema
from store.database import Database

MOST = 10_000  # documents that are reported
_AT_ONCE = 2_000  # documents per read transaction: a long one would keep the log from being checkpointed


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """Ids of the documents that are wrong in the hidden generation."""

    other: tuple[str, ...]  # differing, missing, or surplus
    bare: tuple[str, ...]  # with a passage that has no vector


def differences(database: Database, reindex: Reindex) -> Differences:
    """What is wrong, at most MOST of each kind. Documents that still wait to be copied are left out.

    Reads every text of both generations, in short transactions. Raises Abandoned where nobody waits for the result
    any more.
    """
    other: list[str] = []
    bare: list[str] = []
    for wanted, held in ((reindex.serving_id, reindex.hidden_id), (reindex.hidden_id, reindex.serving_id)):
        after = ""
        while len(other) < MOST:
            check_awaited()
            with database.read() as session:
                last = session.execute(_bounds(wanted), {"after": after}).scalar()
                if last is None:
                    break
                span = {"after": after, "last": last}
                other += session.execute(_missing(wanted, held, reindex.id), span).scalars()
                if wanted == reindex.hidden_id:
                    bare += session.execute(_bare(reindex.hidden_id), span).scalars()
            after = last
    return Differences(other=tuple(other[:MOST]), bare=tuple(bare[:MOST]))


def _bounds(collection_id: int | None) -> sa.Select[tuple[str]]:
    """The id of the last of the next _AT_ONCE documents after :after."""
    document = schema.document.c
    some = (
        sa.select(document.external_id)
        .where(document.collection_id == collection_id, document.external_id > sa.bindparam("after"))
        .order_by(document.external_id)
        .limit(_AT_ONCE)
        .subquery()
    )
    return sa.select(sa.func.max(some.c.external_id))


def _missing(wanted: int | None, other: int | None, reindex_id: int) -> sa.Select[tuple[str]]:
    """Documents of `wanted` that are missing from or differ in `other`, and do not wait to be copied."""
    mine, theirs, pending = schema.document.alias(), schema.document.alias(), schema.reindex_pending.c
    waits = (
        sa.select(pending.id)
        .where(pending.reindex_id == reindex_id, pending.external_id == mine.c.external_id)
        .correlate(mine)
        .exists()
    )
    same = (theirs.c.collection_id == other) & (theirs.c.external_id == mine.c.external_id)
    differs = [mine.c[name].is_distinct_from(theirs.c[name]) for name in ("title", "text", "metadata", "controls")]
    return (
        sa.select(mine.c.external_id)
        .select_from(mine.outerjoin(theirs, same))
        .where(
            mine.c.collection_id == wanted,
            mine.c.external_id > sa.bindparam("after"),
            mine.c.external_id <= sa.bindparam("last"),
            sa.or_(theirs.c.id.is_(None), *differs),
            ~waits,
        )
    )


def _bare(hidden: int | None) -> sa.Select[tuple[str]]:
    """Documents of the hidden generation with a passage that has no embedding."""
    document, passage = schema.document.c, schema.passage.c
    embedding, generation = schema.embedding.c, schema.generation.c
    has = (
        sa.select(embedding.id)
        .join_from(schema.embedding, schema.generation, generation.id == embedding.generation_id)
        .where(generation.collection_id == hidden, embedding.sha == passage.sha)
        .correlate(schema.passage)
        .exists()
    )
    return (
        sa.select(document.external_id)
        .join_from(schema.passage, schema.document, document.id == passage.document_id)
        .where(
            document.collection_id == hidden,
            document.external_id > sa.bindparam("after"),
            document.external_id <= sa.bindparam("last"),
            ~has,
        )
        .distinct()
    )
