"""What the doors ask of reindexes: begin one, look at it, switch, roll back, cancel, clean up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from app.schemas.reindexes import ReindexRequest
from app.wiring import Wiring
from core.errors import CollectionNotFound, SalienceError
from core.records import SparseScoring
from core.reindexes import Reindex, ReindexState
from indexer.reindexstart import ReindexPlan, begin_reindex
from store.catalog import get_collection
from store.database import ReadSession
from store.reindex.pending import pending_count
from store.reindex.record import ENDED, hidden_collection, newest, unfinished

_CANCELLABLE = (ReindexState.BUILDING, ReindexState.VALIDATING, ReindexState.READY, ReindexState.FAILED)


def begin(parts: Wiring, name: str, asked: ReindexRequest) -> Reindex:
    """Raises as begin_reindex does, and ModelNotFound, ModelError, InvalidInput for the models."""
    from embedder.lexical import check_language

    given = asked.settings.given()
    if "language" in given:
        check_language(given["language"])
    with parts.database.read() as session:
        collection = get_collection(session, name)
    active, scoring = collection.active, given.get("sparse", collection.settings.sparse)
    if asked.sparse_model is not None and "sparse" not in given and scoring is SparseScoring.BM25:
        scoring = given["sparse"] = SparseScoring.LEARNED
    sparse_model = asked.sparse_model or (None if scoring is SparseScoring.BM25 else active.sparse_model)
    encoder = parts.models.encoder_of(collection) if asked.model is None else parts.models.encoder(asked.model)
    begun = begin_reindex(
        parts.database,
        collection.name,
        ReindexPlan(
            settings=given,
            encoder=encoder,
            sparse_model=None if sparse_model is None else parts.models.resolve(sparse_model),
            sparse=None if sparse_model is None else parts.models.sparse_encoder(sparse_model),
            share=asked.share,
            auto_switch=asked.auto_switch,
            grace_seconds=asked.grace_seconds,
            min_recall=asked.min_recall,
            judgements=None if asked.judgements is None else json.dumps(asked.judgements.model_dump()),
            min_gain=asked.min_gain,
        ),
    )
    parts.reindexing.wake()
    return begun


def look(session: ReadSession, name: str) -> tuple[Reindex, int]:
    """The newest reindex of a collection, deleted ones included, and how many documents wait to be brought over.

    Raises ReindexNotFound.
    """
    with suppress(CollectionNotFound):  # what became of the reindex of a deleted one can still be asked
        name = get_collection(session, name).name  # it may be an alias
    found = newest(session, name)
    return found, pending_count(session, found)


def switch(parts: Wiring, name: str) -> Reindex:
    """Raises ReindexNotFound, ReindexConflict, and what keeps the new generation from catching up."""
    return parts.reindexing.switch(_newest(parts, name))


def rollback(parts: Wiring, name: str) -> Reindex:
    """Raises as `switch`."""
    return parts.reindexing.rollback(_newest(parts, name))


def cancel(parts: Wiring, name: str) -> Reindex:
    """Raises ReindexNotFound, and ReindexConflict where it is over or switched."""
    return parts.reindexing.end(_newest(parts, name), _CANCELLABLE, ReindexState.CANCELLED)


def clean_up(parts: Wiring, name: str) -> Reindex:
    """Let go of the old generation before its time. Raises ReindexNotFound, and ReindexConflict where it answers."""
    return parts.reindexing.end(_newest(parts, name), (ReindexState.SWITCHED,), ReindexState.DONE)


def judged(parts: Wiring, old: str, new: str, judgements: Mapping[str, Any]) -> dict[str, Any]:
    """Both generations searched by every judged query, as a user would: measures of each, and the gain of nDCG@10."""
    import numpy as np

    from app.evaluation import DEPTH, measure, ndcg_by_query
    from app.significance import randomisation
    from retriever.query import Query

    qrels, figures, per_query = judgements["qrels"], {}, {}
    for side, name in (("old", old), ("new", new)):
        run = {}
        for id_ in qrels:
            found = parts.searcher.search(name, Query(text=judgements["queries"][id_], k=DEPTH))
            run[id_] = [(hit.document_id, hit.score) for hit in found.hits]
        figures[side], per_query[side] = measure(run, qrels), np.array(ndcg_by_query(run, qrels))
    gains = per_query["new"] - per_query["old"]
    return {**figures, "gain": float(gains.mean()), "p": randomisation(gains), "queries": len(qrels)}


def load_models(parts: Wiring) -> None:
    """Load what the other generations of reindexes are embedded by, before anybody waits: that holds up all threads.

    A model that cannot be had is left to whoever needs it, who says why; so is one behind another service, as it takes
    no time to load, or long to fail.
    """
    with parts.database.read() as session:
        names = {
            hidden_collection(session, found).active.model for found in unfinished(session) if found.state not in ENDED
        }
    for name in sorted(names):
        with suppress(SalienceError):
            if parts.models.describe(name).settings.folder is not None:
                parts.models.model(name)


def _newest(parts: Wiring, name: str) -> Reindex:
    with parts.database.read() as session:
        return look(session, name)[0]
