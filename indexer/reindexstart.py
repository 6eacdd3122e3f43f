"""Begin a reindex: check the request and try the model before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.errors import InvalidSettings, ModelError, ReindexConflict
from core.prompts import Prompt
from core.protocols import Encoder, Priority, SparseEncoder
from core.records import Collection, CollectionSettings, Representation
from core.reindexes import Reindex
from store.catalog import counts, create_hidden, get_collection
from store.clock import database_now
from store.database import Database
from store.failpoints import reached
from store.reindex.record import begin, check_free
from store.settings import CHANGEABLE

MIN_SHARE = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class ReindexPlan:
    """How to rebuild a collection. The fields are those of core.reindexes.Reindex."""

    settings: Mapping[str, Any]  # new values by field name of CollectionSettings; the others are kept
    encoder: Encoder
    sparse_model: str | None = None  # its name; None: no learned weights
    sparse: SparseEncoder | None = None
    share: float = 0.5
    auto_switch: bool = True
    grace_seconds: float = 3600.0
    min_recall: float = 0.95
    judgements: str | None = None
    min_gain: float | None = None


def begin_reindex(database: Database, name: str, plan: ReindexPlan) -> Reindex:
    """Record a new reindex of the collection; a process that runs Reindexing carries it out.

    Raises CollectionNotFound, InvalidSettings, ReindexConflict where the collection is being reindexed or nothing would
    change, and what the model raises.
    """
    _check(plan)
    with database.read() as session:
        collection = get_collection(session, name)
        check_free(session, collection)
    _wanted(collection, plan)
    _try_out(plan)
    with database.write() as session:
        collection = get_collection(session, name)
        hidden = create_hidden(
            session,
            collection,
            _wanted(collection, plan),
            model=plan.encoder.name,
            fingerprint=plan.encoder.fingerprint,
            dimension=plan.encoder.dimension,
            sparse_model=plan.sparse_model,
            sparse_fingerprint=None if plan.sparse is None else plan.sparse.fingerprint,
        )
        begun = begin(
            session,
            collection,
            hidden,
            share=plan.share,
            auto_switch=plan.auto_switch,
            grace_seconds=plan.grace_seconds,
            min_recall=plan.min_recall,
            judgements=plan.judgements,
            min_gain=plan.min_gain,
            total=counts(session, collection.id).documents,
            now=database_now(session),
        )
    reached("reindex.begun")
    return begun


def _check(plan: ReindexPlan) -> None:
    if not MIN_SHARE <= plan.share <= 1:
        raise InvalidSettings(f"share {plan.share:g}: must be between {MIN_SHARE} and 1", param="share")
    if not (np.isfinite(plan.grace_seconds) and plan.grace_seconds >= 0):
        raise InvalidSettings(f"grace_seconds {plan.grace_seconds:g}: must be 0 or more", param="grace_seconds")
    if not 0 <= plan.min_recall <= 1:
        raise InvalidSettings(f"min_recall {plan.min_recall:g}: must be between 0 and 1", param="min_recall")
    if plan.min_gain is not None and not -1 <= plan.min_gain <= 1:
        raise InvalidSettings(f"min_gain {plan.min_gain:g}: must be between -1 and 1", param="min_gain")
    if plan.min_gain is not None and plan.judgements is None:
        raise InvalidSettings("min_gain needs judgements to measure it by: queries and qrels", param="min_gain")
    changeable = [name for name in CHANGEABLE if name in plan.settings]
    if changeable:
        raise InvalidSettings(
            f"{changeable[0]} can be changed at any time, and needs no reindex: salience collections set",
            param=changeable[0],
        )


def _wanted(collection: Collection, plan: ReindexPlan) -> CollectionSettings:
    """The settings of the new generation. Raises ReindexConflict where nothing would change."""
    wanted, active = replace(collection.settings, **plan.settings), collection.active
    sparse = None if plan.sparse is None else plan.sparse.fingerprint
    if (wanted, plan.encoder.fingerprint, sparse) == (
        collection.settings, active.fingerprint, active.sparse_fingerprint,
    ):  # fmt: skip
        raise ReindexConflict(
            f"the collection {collection.name!r} has this model and these settings already: there is nothing to do",
            param="collection",
        )
    return wanted


def _try_out(plan: ReindexPlan) -> None:
    """Embed a short text. Raises ModelError if the vector cannot be stored, and what the models raise."""
    prompts, as_document = [Prompt.of("a text to try the model with")], Representation.DOCUMENT
    vectors = plan.encoder.encode(prompts, as_document, priority=Priority.INTERACTIVE).vectors
    if vectors.shape != (1, plan.encoder.dimension) or not np.isfinite(vectors).all():
        raise ModelError(
            f"the model {plan.encoder.name} makes no sound vector of a short text: try salience models check"
        )
    if plan.sparse is not None:
        plan.sparse.encode_sparse(prompts, as_document, priority=Priority.INTERACTIVE)
