"""The provenance record of an explanation: everything needed to recompute it, as JSON, and the query read from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import InvalidInput
from core.filters import filter_json, parse_filter
from core.prompts import ControlOptions, ControlTarget, TextControl, TokenOverlap
from core.records import Collection, Hit, SparseScoring
from embedder.explaining.request import Granularity
from retriever.fusion import Fusion
from retriever.inputs import Example, Inputs, dense_input, sparse_input
from retriever.legs import Leg, learned_leg
from retriever.query import Explain, Query
from retriever.rerank import Rerank
from retriever.selection import Selection
from retriever.unit_request import UnitMethod, UnitRequest
from retriever.wordconditions import WordConditions

OBJECTIVE = "score of the passage for the query"
PRODUCTS = "products of learned weights, by the tokens that made them (shares), leave-one-out in the pool (effects)"


def search_record(
    collection: Collection, seq: int, query: Query, legs: Sequence[Leg], reranker: str | None = None
) -> dict[str, Any]:
    """The record shared by all hits of one search. `reranker`: its fingerprint; None: nothing was reranked."""
    dense, learned = Leg.DENSE in legs, learned_leg(collection) in legs
    methods = {
        "token-pair matrix (shares), leave-one-out in the pool (effects)": dense,
        "BM25 products": collection.settings.sparse is not SparseScoring.LEARNED and Leg.SPARSE in legs,
        PRODUCTS: learned,
    }
    return {
        "method": "; ".join(method for method, used in methods.items() if used),
        "objective": OBJECTIVE,
        "explain": query.explain.value,
        "units": None if query.units is None else _units_json(query.units),
        "model": collection.active.model if dense else None,
        "fingerprint": collection.active.fingerprint if dense else None,
        "sparse_model": collection.active.sparse_model if learned else None,
        "sparse_fingerprint": collection.active.sparse_fingerprint if learned else None,
        "rerank": None if query.rerank is None or reranker is None else _rerank_json(query.rerank, reranker),
        "min_scores": {leg.value: score for leg, score in query.selection.min_scores.items()},
        "bm25": bm25_json(collection),
        "collection": collection.name,
        "generation": collection.active.id,
        "seq": seq,
        **_query_json(query, legs),
    }


def hit_record(record: Mapping[str, Any], hit: Hit) -> dict[str, Any]:
    """The record of one hit's explanation. `hit` must have its document's title and its passage's text in full."""
    return {
        **record,
        "id": hit.id,
        "document_id": hit.document_id,
        "document_sha256": document_sha256(hit),
        "score": hit.score,
    }


def bm25_json(collection: Collection) -> dict[str, Any]:
    """The settings that BM25 scores depend on; synonyms as a digest."""
    settings = collection.settings
    scored_by: dict[str, Any] = {"k1": settings.k1, "b": settings.b}
    if settings.synonyms:
        said = json.dumps(sorted((word, list(others)) for word, others in settings.synonyms.items()))
        scored_by["synonyms"] = hashlib.sha256(said.encode()).hexdigest()
    return scored_by


def document_sha256(hit: Hit) -> str:
    """A digest of the scored parts of the document: its title, the passage's text, and the controls on it."""
    spans = [(control.start, control.length, control.factor) for control in hit.controls]
    scored = f"{hit.title}\0{hit.text}" + (f"\0{json.dumps(spans)}" if spans else "")
    return hashlib.sha256(scored.encode(errors="surrogatepass")).hexdigest()


def recorded_query(record: Mapping[str, Any]) -> Query:
    """The query of a record, to be explained again in the same way. Raises InvalidInput for an invalid record."""
    try:
        inputs = record.get("inputs")
        return Query(
            text=record["query"],
            controls=tuple(_control(control) for control in record["controls"]),
            options=ControlOptions(
                contextual_threshold=record.get("contextual_control_threshold"),
                log_additive=_truth(record["control_log_additive"]),
                target=ControlTarget(record["control_target"]),
            ),
            legs=tuple(Leg(leg) for leg in record["legs"]),
            fusion=_fusion(record["fusion"], record["fusion_parameters"]),
            rerank=None if record.get("rerank") is None else _rerank(record["rerank"]),
            filter=None if record.get("filter") is None else parse_filter(record["filter"]),
            explain=_explain(record["explain"]),
            units=None if record.get("units") is None else _units(record["units"]),
            inputs=Inputs() if inputs is None else _inputs(inputs),
            conditions=WordConditions(**{name: tuple(words) for name, words in record["conditions"].items()}),
            selection=Selection(min_scores=_thresholds(record)),
            k=1,
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InvalidInput(
            f"the record of the explanation is not one that Salience wrote ({error!r:.200})", param="provenance"
        ) from error


def _explain(said: Any) -> Explain:
    """The level of explanation to recompute: of a contrast only the ledgers, not the changes that were tried."""
    explain = Explain(said)
    return Explain.WORDS if explain is Explain.CONTRAST else explain


def _thresholds(record: Mapping[str, Any]) -> dict[Leg, float]:
    """The score thresholds, if there is a reranker: they determine which documents it judges.

    Otherwise no score depends on them, and the hit is explained regardless.
    """
    said = record.get("min_scores") or {}  # missing in older records
    return {Leg(leg): finite(score) for leg, score in said.items()} if record.get("rerank") else {}


def finite(value: Any) -> float:
    """The value as a float. Raises TypeError, ValueError or OverflowError unless it is a finite number."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number


def _truth(value: Any) -> bool:
    """Raises TypeError for anything but true and false."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is neither true nor false")
    return value


def _query_json(query: Query, legs: Sequence[Leg]) -> dict[str, Any]:
    return {
        "query": query.text,
        "controls": [
            {"start": c.start, "length": c.length, "factor": c.factor, "token_overlap": c.token_overlap.value}
            for c in query.controls
        ],
        "control_target": query.options.target.value,
        "control_log_additive": query.options.log_additive,
        "contextual_control_threshold": query.options.contextual_threshold,
        "legs": [leg.value for leg in legs],
        "fusion": query.fusion.method,
        "fusion_parameters": query.fusion.parameters(legs),
        "filter": None if query.filter is None else filter_json(query.filter),
        "conditions": {
            "must": list(query.conditions.must),
            "must_not": list(query.conditions.must_not),
            "phrases": list(query.conditions.phrases),
        },
        "inputs": _inputs_json(query.inputs) if query.inputs.searchable or query.inputs.unlike else None,
    }


def _inputs_json(inputs: Inputs) -> dict[str, Any]:
    sparse = inputs.sparse_vector
    return {
        "vector": None if inputs.vector is None else [float(value) for value in inputs.vector],
        "sparse_vector": (
            None if sparse is None else [[int(i), float(w)] for i, w in zip(sparse.ids, sparse.weights, strict=True)]
        ),
        "like": list(inputs.like),
        "unlike": list(inputs.unlike),
        "prompt": inputs.prompt is not None,  # the items are not stored, since images are large
    }


def _inputs(said: Mapping[str, Any]) -> Inputs:
    if said["prompt"]:
        raise InvalidInput("the query was a prompt of items, which records do not keep: it cannot be replayed")
    vector, sparse = said["vector"], said["sparse_vector"]
    return Inputs(
        vector=None if vector is None else dense_input(vector),
        sparse_vector=None if sparse is None else sparse_input({int(id_): weight for id_, weight in sparse}),
        like=tuple(_example(example) for example in said["like"]),
        unlike=tuple(_example(example) for example in said["unlike"]),
    )


def _example(said: Any) -> Example:
    if isinstance(said, str) or (isinstance(said, int) and not isinstance(said, bool) and 0 < said < 2**63):
        return said
    raise ValueError(f"{said!r:.80} is neither a document's id nor a hit's")


def _fusion(method: str, parameters: Mapping[str, Any]) -> Fusion:
    known = dict(parameters)
    if "k" in known:
        known["k"] = finite(known["k"])
    if "weights" in known:
        dense, sparse = known["weights"]
        known["weights"] = (finite(dense), finite(sparse))
    return Fusion(method=method, **known)


def _rerank_json(rerank: Rerank, fingerprint: str) -> dict[str, Any]:
    return {"model": rerank.model, "fingerprint": fingerprint, "depth": rerank.depth, "weight": rerank.weight}


def _rerank(said: Mapping[str, Any]) -> Rerank:
    return Rerank(model=str(said["model"]), depth=int(said["depth"]), weight=finite(said["weight"]))


def _control(said: Mapping[str, Any]) -> TextControl:
    return TextControl(
        start=int(said["start"]),
        length=int(said["length"]),
        factor=finite(said["factor"]),
        token_overlap=TokenOverlap(said["token_overlap"]),
    )


def _units_json(units: UnitRequest) -> dict[str, Any]:
    granularity = None if units.granularity is None else units.granularity.value
    return {"method": units.method.value, "granularity": granularity, "control_factor": units.control_factor}


def _units(said: Mapping[str, Any]) -> UnitRequest:
    granularity = said["granularity"]
    return UnitRequest(
        method=UnitMethod(said["method"]),
        granularity=None if granularity is None else Granularity(granularity),
        control_factor=finite(said["control_factor"]),
    )
