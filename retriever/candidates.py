"""The passages that a search looks at, each scored by every leg of the search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.records import Float32Array, Float64Array, Int64Array
from retriever.fusion import FusedLeg, Fusion, LegScores, fuse
from retriever.terms import QueryTerms, synonym_scales
from store.pool import Pool
from store.view import View

POOL_DEPTH = 1000  # passages of each leg whose ranks and range the fusion goes by
_TERMS_AT_ONCE = 256  # a query may have 100,000 terms: never a table of all of them for all candidates


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """The union of the legs' pools, by rising passage id."""

    ids: Int64Array  # (n,)
    documents: Int64Array  # (n,) equal for passages of one document
    dense: LegScores | None  # None: the leg takes no part
    sparse: LegScores | None
    complete: bool  # whether deeper pools would bring no further passage


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """Final scores of the candidates, and each leg's part in them."""

    scores: Float64Array  # (n,)
    dense: FusedLeg | None
    sparse: FusedLeg | None


def gather(
    view: View, *, vector: Float32Array | None, terms: QueryTerms | None, depth: int, allowed: Int64Array | None
) -> Candidates:
    """The `depth` best passages of each leg. `vector` or `terms` of None leaves that leg out.

    Raw scores are computed anew in float64 for every candidate, by one formula for both pools: they do not depend on
    how the pools were found, and the explanation's parts are the very numbers that were ranked by.
    """
    nearest = matching = None
    if vector is not None:
        nearest = view.nearest(vector, depth, allowed)
    scales = np.ones(0)
    if terms is not None:
        scales = synonym_scales(terms, view.term_statistics(terms.terms))
        matching = view.matching(_weights(terms, scales), depth, allowed)
    pools = [pool.ids for pool in (nearest, matching) if pool is not None]
    ids = np.unique(np.concatenate(pools)) if pools else np.empty(0, dtype=np.int64)
    dense = sparse = None
    if vector is not None and nearest is not None:
        dense = LegScores(raw=view.dense_scores(vector, ids), rank=_ranks(nearest, ids))
    if terms is not None and matching is not None:
        sparse = LegScores(raw=_bm25(view, terms, scales, ids), rank=_ranks(matching, ids))
    return Candidates(
        ids=ids,
        documents=view.documents_of(ids),
        dense=dense,
        sparse=sparse,
        complete=all(len(pool) < depth for pool in pools),
    )


def term_products(view: View, terms: QueryTerms, ids: Int64Array) -> Float64Array:
    """(n, terms) what each term adds to a passage's BM25 score, before its factor: idf * weight, synonyms as one."""
    scales = synonym_scales(terms, view.term_statistics(terms.terms))
    return view.sparse_products(terms.terms, ids) * scales


def rank(candidates: Candidates, fusion: Fusion) -> Ranked:
    """Fuse the legs. A leg that is alone is ranked by its raw score: there is nothing to fuse."""
    if candidates.dense is not None and candidates.sparse is not None:
        fused = fuse(fusion, candidates.dense, candidates.sparse)
        return Ranked(scores=fused.scores, dense=fused.dense, sparse=fused.sparse)
    alone = candidates.dense or candidates.sparse
    if alone is None:
        raise ValueError("no leg takes part")
    leg = FusedLeg(norm=alone.raw, weight=1.0, scale=1.0, constant=0.0)
    return Ranked(
        scores=alone.raw,
        dense=leg if candidates.dense is not None else None,
        sparse=leg if candidates.sparse is not None else None,
    )


def _weights(terms: QueryTerms, scales: Float64Array) -> dict[str, float]:
    factors = terms.factors * scales
    return {term: float(factor) for term, factor in zip(terms.terms, factors, strict=True)}


def _bm25(view: View, terms: QueryTerms, scales: Float64Array, ids: Int64Array) -> Float64Array:
    """(n,) `term_products` times the terms' factors. A passage's sum does not depend on the other passages."""
    df = view.term_statistics(terms.terms).df
    known = [i for i, term in enumerate(terms.terms) if df[term] and terms.factors[i]]
    scores = np.zeros(len(ids))
    for begin in range(0, len(known), _TERMS_AT_ONCE):
        block = known[begin : begin + _TERMS_AT_ONCE]
        products = view.sparse_products([terms.terms[i] for i in block], ids)
        # vecdot sums row by row, where BLAS's matrix product sums a row by its place: equals would no longer tie
        scores += np.vecdot(products, terms.factors[block] * scales[block])
    return scores


def _ranks(pool: Pool, ids: Int64Array) -> Int64Array:
    """(ids,) 1-based rank in the first POOL_DEPTH of the pool of each of the sorted `ids`, 0 where it is not there.

    The fusion goes by these alone: a pool that had to be deepened for a long page changes no score.
    """
    ranks = np.zeros(len(ids), dtype=np.int64)
    first = pool.ids[:POOL_DEPTH]
    ranks[np.searchsorted(ids, first)] = np.arange(1, len(first) + 1)
    return ranks
