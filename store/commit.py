"""The commit: adds, replaces and deletes documents with their passages and embeddings in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from core.errors import CollectionMoved, CollectionNotFound, EmbeddingsMissing, ModelMismatch
from core.records import GenerationState
from core.unicode import is_unicode
from store import schema
from store.answering import answering
from store.batch import Batch, Draft, Receipt, check_embeddings
from store.changes import current_seq, log_changes
from store.controls import pack_controls
from store.database import ReadSession, WriteSession, chunks
from store.failpoints import reached
from store.filters.rows import insert_values
from store.passageindex.counts import count
from store.reindex.dualwrites import note_writes
from store.terms import pack_postings, pack_vector, register_terms


def commit(session: WriteSession, batch: Batch) -> Receipt:
    """Write `batch`. If it raises, let the exception end the session's block: then nothing is written.

    Raises CollectionNotFound when the collection is gone, CollectionMoved when another generation has taken its name,
    ModelMismatch when its generation has another fingerprint, dimension or sparse model, EmbeddingsMissing when a
    passage's embedding is neither in the batch nor stored, ModelError for a vector with an invalid value.
    """
    generation_id = _generation(session, batch)
    check_embeddings(batch)
    plan = _plan(session, batch)
    reached("commit.planned")
    gone = _remove_passages(session, plan, generation_id)
    reached("commit.passages_removed")
    document_ids = _write_documents(session, batch, plan)
    _write_fields(session, batch.collection.id, plan, document_ids)
    reached("commit.documents_written")
    _write_embeddings(session, batch, plan, generation_id)
    reached("commit.embeddings_written")
    _write_passages(session, plan, document_ids, generation_id)
    reached("commit.passages_written")
    came = Counter(item.sha for draft in plan.with_passages() for item in draft.passages)
    came.subtract(gone)
    count(session, generation_id, came)
    _remove_orphans(session, batch.collection.id, gone)
    note_writes(session, batch.collection.id, [*plan.written, *batch.deletions])
    reached("commit.orphans_removed")
    return Receipt(
        seq=current_seq(session, batch.collection.active.id),
        created=len(plan.created),
        replaced=len(plan.replaced),
        updated=len(plan.updated),
        unchanged=plan.unchanged,
        deleted=len(plan.deleted),
    )


def missing_embeddings(session: ReadSession, generation_id: int, shas: Iterable[bytes]) -> set[bytes]:
    """Those of `shas` for which the generation has no embedding."""
    wanted = set(shas)
    stored = sa.select(schema.embedding.c.sha).where(schema.embedding.c.generation_id == generation_id)
    return wanted - {row.sha for row in session.rows_where_in(stored, schema.embedding.c.sha, wanted)}


def unchanged_documents(session: ReadSession, collection_id: int, contents: Mapping[str, bytes]) -> set[str]:
    """Those of the document ids whose stored content SHA equals the given one: they need no embedding."""
    stored = _stored_documents(session, collection_id, contents)
    return {id_ for id_, row in stored.items() if row.content_sha == contents[id_]}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What to write, given what is already stored. Integers are values of `document.id`."""

    created: list[Draft]
    replaced: dict[int, Draft]
    updated: dict[int, Draft]
    unchanged: int
    deleted: list[int]

    @property
    def written(self) -> list[str]:
        """The users' ids of the documents that are created, replaced or updated."""
        return [draft.document.id for draft in (*self.with_passages(), *self.updated.values())]

    def with_passages(self) -> list[Draft]:
        return [*self.created, *self.replaced.values()]


def _generation(session: ReadSession, batch: Batch) -> int:
    """Id of the generation that receives the passages."""
    collection = batch.collection
    active = sa.and_(
        schema.generation.c.collection_id == collection.id, schema.generation.c.state == GenerationState.ACTIVE.value
    )
    row = session.execute(sa.select(schema.generation).where(active)).first()
    name = session.execute(sa.select(schema.collection.c.name).where(schema.collection.c.id == collection.id)).scalar()
    if row is None and (name == collection.name or answering(session, collection) is None):
        raise CollectionNotFound(f"the collection {collection.name!r} was deleted meanwhile", param="collection")
    if row is None or name != collection.name:
        raise CollectionMoved(f"another generation of the collection {collection.name!r} answers by now; try again")
    if row.fingerprint != batch.fingerprint:
        raise ModelMismatch(
            f"the collection {collection.name!r} was embedded by {row.model} ({row.fingerprint:.12}), "
            f"these documents by another model ({batch.fingerprint:.12}); start Salience with the former, "
            "or use another collection"
        )
    if row.sparse_fingerprint != batch.sparse_fingerprint:
        raise ModelMismatch(
            f"the learned weights of the collection {collection.name!r} are those of "
            f"{row.sparse_model or 'no model'}, these documents' of another; start Salience with the former, "
            "or use another collection"
        )
    return int(row.id)


def _plan(session: ReadSession, batch: Batch) -> _Plan:
    deletions = set(batch.deletions)
    drafts = {draft.document.id: draft for draft in batch.drafts if draft.document.id not in deletions}
    stored = _stored_documents(session, batch.collection.id, [*drafts, *deletions])
    plan = _Plan(
        created=[draft for id_, draft in drafts.items() if id_ not in stored],
        replaced={},
        updated={},
        unchanged=sum(1 for id_, draft in drafts.items() if id_ in stored and _same(stored[id_], draft)),
        deleted=[row.id for id_, row in stored.items() if id_ in deletions],
    )
    for id_, draft in drafts.items():
        if id_ in stored and not _same(stored[id_], draft):
            same_content = stored[id_].content_sha == draft.content_sha
            (plan.updated if same_content else plan.replaced)[stored[id_].id] = draft
    return plan


def _same(stored: sa.Row[Any], draft: Draft) -> bool:
    return bool(stored.content_sha == draft.content_sha and stored.metadata == draft.metadata.json)


def _stored_documents(session: ReadSession, collection_id: int, external_ids: Iterable[str]) -> dict[str, sa.Row[Any]]:
    columns = schema.document.c
    statement = sa.select(columns.id, columns.external_id, columns.content_sha, columns.metadata)
    statement = statement.where(columns.collection_id == collection_id)
    wanted = (id_ for id_ in external_ids if is_unicode(id_))
    return {row.external_id: row for row in session.rows_where_in(statement, columns.external_id, wanted)}


def _remove_passages(session: WriteSession, plan: _Plan, generation_id: int) -> Counter[bytes]:
    """Remove the passages of deleted and replaced documents, and their fields; returns the passages' SHAs, counted."""
    columns = schema.passage.c
    rows = list(
        session.rows_where_in(sa.select(columns.id, columns.sha), columns.document_id, [*plan.deleted, *plan.replaced])
    )
    log_changes(session, generation_id, "-", [row.id for row in rows])
    for chunk in chunks(plan.replaced):
        session.execute(sa.delete(schema.passage).where(columns.document_id.in_(chunk)))
    for chunk in chunks([*plan.replaced, *plan.updated]):
        session.execute(sa.delete(schema.document_field).where(schema.document_field.c.document_id.in_(chunk)))
    for chunk in chunks(plan.deleted):
        session.execute(sa.delete(schema.document).where(schema.document.c.id.in_(chunk)))
    return Counter(row.sha for row in rows)


def _write_documents(session: WriteSession, batch: Batch, plan: _Plan) -> dict[str, int]:
    """Write the document rows; returns the `document.id` of every changed document, by the user's id."""
    document = schema.document
    if plan.created:
        rows = [_document_row(draft) | {"collection_id": batch.collection.id} for draft in plan.created]
        session.execute(sa.insert(document), rows)
    changed = plan.replaced | plan.updated
    if changed:
        rows = [_document_row(draft) | {"row_id": id_} for id_, draft in changed.items()]
        session.execute(sa.update(document).where(document.c.id == sa.bindparam("row_id")), rows)
    created = _stored_documents(session, batch.collection.id, [draft.document.id for draft in plan.created])
    return {id_: row.id for id_, row in created.items()} | {draft.document.id: id_ for id_, draft in changed.items()}


def _document_row(draft: Draft) -> dict[str, Any]:
    return {
        "external_id": draft.document.id,
        "language": draft.language,
        "content_sha": draft.content_sha,
        "title": draft.document.title,
        "metadata": draft.metadata.json,
        "text": draft.document.text,
        "controls": pack_controls(draft.document.controls),
    }


def _write_fields(session: WriteSession, collection_id: int, plan: _Plan, document_ids: Mapping[str, int]) -> None:
    drafts = [*plan.with_passages(), *plan.updated.values()]
    insert_values(session, collection_id, {document_ids[each.document.id]: each.metadata.values for each in drafts})


def _write_embeddings(session: WriteSession, batch: Batch, plan: _Plan, generation_id: int) -> None:
    shas = {passage.sha for draft in plan.with_passages() for passage in draft.passages}
    missing = missing_embeddings(session, generation_id, shas)
    unknown = missing - set(batch.embeddings)
    if unknown:
        raise EmbeddingsMissing(
            f"{len(unknown)} passages have no embedding in the collection {batch.collection.name!r}: others that "
            "shared it were deleted meanwhile; embed them and commit again"
        )
    new = {sha: batch.embeddings[sha] for sha in sorted(missing)}
    texts = {text for embedding in new.values() for text in embedding.terms}
    term_ids = register_terms(session, batch.collection.id, texts)
    rows = [
        {
            "generation_id": generation_id,
            "sha": sha,
            "dense": np.ascontiguousarray(embedding.vector, dtype="<f4").tobytes(),
            "sparse": pack_postings(embedding.terms, term_ids),
            "learned": None if embedding.learned is None else pack_vector(embedding.learned),
        }
        for sha, embedding in new.items()
    ]
    if rows:
        session.execute(sa.insert(schema.embedding), rows)


def _write_passages(session: WriteSession, plan: _Plan, document_ids: Mapping[str, int], generation_id: int) -> None:
    columns = schema.passage.c
    newest = session.execute(sa.select(sa.func.max(columns.id))).scalar() or 0
    rows = [
        {
            "document_id": document_ids[draft.document.id],
            "start": item.passage.start,
            "end": item.passage.end,
            "fresh": item.passage.fresh,
            "sha": item.sha,
        }
        for draft in plan.with_passages()
        for item in draft.passages
    ]
    if rows:
        session.execute(sa.insert(schema.passage), rows)
        # Only these can be new: there is one write transaction at a time, and it is this one.
        added = session.execute(sa.select(columns.id).where(columns.id > newest).order_by(columns.id))
        log_changes(session, generation_id, "+", list(added.scalars()))
    touched = session.rows_where_in(sa.select(columns.id), columns.document_id, plan.updated)
    log_changes(session, generation_id, "=", [row.id for row in touched])


def _remove_orphans(session: WriteSession, collection_id: int, shas: Iterable[bytes]) -> None:
    """Remove the embeddings among `shas` that no passage of the collection uses any more."""
    embedding, passage, document = schema.embedding, schema.passage, schema.document
    generations = sa.select(schema.generation.c.id).where(schema.generation.c.collection_id == collection_id)
    in_use = (
        sa.select(passage.c.id)
        .join_from(passage, document)
        .where(passage.c.sha == embedding.c.sha, document.c.collection_id == collection_id)
        .correlate(embedding)
        .exists()
    )
    for chunk in chunks(shas):
        session.execute(
            sa.delete(embedding).where(embedding.c.generation_id.in_(generations), embedding.c.sha.in_(chunk), ~in_use)
        )
