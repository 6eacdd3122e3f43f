"""Replays saved explanations: recomputes the numbers, compares them, and reports what has changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from core.errors import DocumentNotFound, HitNotFound, InvalidInput, ModelMismatch, ModelNotFound
from core.filters import Filter
from core.reasons import Explanation
from core.records import Collection, Hit
from retriever.contrast import difference
from retriever.query import Query
from retriever.record import bm25_json, document_sha256, finite, recorded_query
from retriever.searcher import Searcher
from store.views import Views

TOLERANCE = 1e-5
_NOTHING: Mapping[str, Any] = {}
_NUMBERS = {
    "words": ("share", "effect"),
    "query_words": ("dense", "sparse", "learned"),
    "sentences": ("share", "effect"),
    "units": ("effect",),
}


class Changed(StrEnum):
    """What has changed since an explanation was made."""

    MODEL = "model"  # the collection is searched by another model
    GENERATION = "generation"  # its passages were embedded again
    DOCUMENT = "document"  # the document was replaced or deleted
    COLLECTION = "collection"  # other documents were added or removed, or its settings were changed


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """The comparison of a saved explanation with the current one."""

    id: int  # of the hit
    agrees: bool  # whether every number is within TOLERANCE
    difference: float | None  # the largest one; None if it cannot be recomputed, or its structure has changed
    changed: tuple[Changed, ...]  # since the explanation was made
    score: float  # the saved score
    score_now: float | None  # None: it cannot be recomputed


def replay(searcher: Searcher, views: Views, saved: Mapping[str, Any], *, within: Filter | None = None) -> Replay:
    """Recompute a saved explanation and compare.

    `saved`: an explanation as returned by the API. `within`: as in Query. Raises InvalidInput if `saved` is not an
    explanation, CollectionNotFound.
    """
    record = saved.get("provenance")
    if not isinstance(record, Mapping) or not isinstance(saved.get("ledger"), Mapping):
        raise InvalidInput("this is no explanation: it has no provenance, or no ledger", param="explanation")
    query = replace(recorded_query(record), within=within)
    try:
        id_, score, seq = int(record["id"]), finite(record["score"]), int(record["seq"])
        if not isinstance(record["collection"], str):  # a number would escape the checks of names
            raise TypeError("the collection's name is no text")
        other_id = _held_against(saved)
        collection = views.collection(record["collection"])
        changed = list(_since(collection, record))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(
            f"the record of the explanation lacks a part, or has a broken one: {error!r:.200}"
        ) from error
    try:
        result = searcher.explain(collection.name, query, id_)
        others = _others(searcher, collection.name, query, other_id)
    except (DocumentNotFound, HitNotFound) as error:
        reasons = (*changed, *_gone(error, changed))
        return Replay(id=id_, agrees=False, difference=None, changed=reasons, score=score, score_now=None)
    except (ModelMismatch, ModelNotFound):
        reasons = tuple(dict.fromkeys((*changed, Changed.MODEL)))
        return Replay(id=id_, agrees=False, difference=None, changed=reasons, score=score, score_now=None)
    [hit] = result.hits
    if _reranker(record) != _reranker({} if hit.explanation is None else hit.explanation.provenance):
        changed = list(dict.fromkeys((Changed.MODEL, *changed)))
    if document_sha256(hit) != record.get("document_sha256"):
        changed.append(Changed.DOCUMENT)
    if result.seq != seq or (record.get("bm25") or bm25_json(collection)) != bm25_json(collection):
        changed.append(Changed.COLLECTION)
    try:
        apart = max(_apart(saved, hit, others, score))
    except (AttributeError, KeyError, TypeError, OverflowError) as error:
        raise InvalidInput(f"the explanation is not one that Salience wrote: {error!r:.200}") from error
    return Replay(
        id=id_,
        agrees=apart <= TOLERANCE,
        difference=apart if math.isfinite(apart) else None,
        changed=tuple(changed),
        score=score,
        score_now=hit.score,
    )


def explanations_in(saved: Any) -> Iterator[Mapping[str, Any]]:
    """The explanations in a JSON value, which may be an explanation, a hit that has one, or the answer to a search."""
    if isinstance(saved, Mapping):
        if "provenance" in saved and "ledger" in saved:
            yield saved
        else:
            for value in saved.values():
                yield from explanations_in(value)
    elif isinstance(saved, Sequence) and not isinstance(saved, (str, bytes)):
        for value in saved:
            yield from explanations_in(value)


def _since(collection: Collection, record: Mapping[str, Any]) -> Iterator[Changed]:
    generation = collection.active
    models = (
        (record.get("fingerprint"), generation.fingerprint),
        (record.get("sparse_fingerprint"), generation.sparse_fingerprint),
    )
    if any(then is not None and then != now for then, now in models):
        yield Changed.MODEL
    if int(record["generation"]) != generation.id:
        yield Changed.GENERATION


def _reranker(record: Mapping[str, Any]) -> str | None:
    """The fingerprint of the reranker in a record, if any."""
    said = record.get("rerank")
    return None if said is None else str(said.get("fingerprint"))


def _gone(error: DocumentNotFound | HitNotFound, changed: Sequence[Changed]) -> tuple[Changed, ...]:
    """The change behind a missing hit, or a missing example of its query."""
    if isinstance(error, HitNotFound) and Changed.GENERATION in changed:
        return ()  # another generation has other passage ids, even for unchanged documents
    return (Changed.DOCUMENT,) if error.param == "id" else (Changed.COLLECTION,)


def _held_against(saved: Mapping[str, Any]) -> int | None:
    """The id of the other hit in the explanation's contrast, if any.

    Raises TypeError, ValueError, OverflowError.
    """
    contrast = saved.get("contrast")
    return int(contrast["other"]) if isinstance(contrast, Mapping) and "other" in contrast else None


def _others(searcher: Searcher, collection: str, query: Query, id_: int | None) -> list[Hit] | None:
    """The current hit `id_`, if an id is given; None: it is gone."""
    if id_ is None:
        return []
    try:
        return list(searcher.explain(collection, query, id_).hits)
    except HitNotFound:
        return None


def _apart(saved: Mapping[str, Any], hit: Hit, others: Sequence[Hit] | None, score: float) -> Iterator[float]:
    """The distance of each saved number from the current one; infinite if one of them is missing."""
    explanation = hit.explanation
    assert explanation is not None  # it was requested
    yield abs(score - hit.score)
    yield from _lines_apart(saved["ledger"], explanation.ledger)
    for name, columns in _NUMBERS.items():
        now = getattr(explanation, name) if saved.get(name) else ()
        for then, one in zip_longest(saved.get(name) or (), now):
            yield from (_number_apart((then or _NOTHING).get(column), getattr(one, column, None)) for column in columns)
    if others is None:
        yield math.inf
    for other in others or ():
        yield from _lines_apart(saved["contrast"]["ledger"], difference(hit, other))


def _lines_apart(then: Mapping[str, Any], now: Explanation) -> Iterator[float]:
    """The distances between the entries of two ledgers. A saved entry without details is compared as a whole."""
    yield _number_apart(then.get("value"), now.value)
    mine = then.get("details") or ()
    if mine and len(mine) != len(now.details):
        yield math.inf
    else:
        for one, other in zip(mine, now.details, strict=False):
            yield from _lines_apart(one, other)


def _number_apart(then: Any, now: Any) -> float:
    if then is None and now is None:
        return 0.0
    if not isinstance(then, (int, float)) or not isinstance(now, (int, float)) or not math.isfinite(then):
        return math.inf
    return abs(then - now)
