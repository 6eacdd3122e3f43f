"""The reasons of reranked hits: they add up, compare, and can be computed again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.schemas.explanations import ExplanationBody
from core.errors import HitNotFound, InvalidQuery
from core.records import Hit, Relevance
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.fusion import Fusion
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.reasons import explain_hit
from retriever.replay import Changed, replay
from retriever.rerank import Rerank
from retriever.searcher import Searcher
from retriever.selection import Selection
from store import Database, Views
from tests.retriever.conftest import branches
from tests.retriever.rerank.judging import FUSIONS, LEGS, TEXT, Opinionated


def adds_up(hit: Hit) -> None:
    reasons = hit.explanation
    assert reasons is not None
    assert reasons.ledger.value == pytest.approx(hit.score, abs=1e-9)
    for branch in branches(reasons.ledger):
        assert math.fsum(d.value for d in branch.details) == pytest.approx(branch.value, abs=1e-6), branch.description
    constants = math.fsum(line.value for line in reasons.ledger.details if line.kind == "constant")
    by_leg = math.fsum(one.weight * one.norm for one in hit.scores.values())
    assert by_leg + constants == pytest.approx(hit.score, abs=1e-9)
    by_query = math.fsum(w.dense + w.sparse for w in reasons.query_words) + reasons.query_rest
    assert by_query == pytest.approx(hit.score, abs=1e-6)
    lines = [line for line in reasons.ledger.details if line.kind == "rerank"]
    assert len(lines) == ("rerank" in hit.scores)
    for line in lines:
        assert line.value == hit.scores["rerank"].weight * hit.scores["rerank"].raw


@pytest.mark.parametrize("explain", [Explain.SCORES, Explain.WORDS])
@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_ledger_sums_after_reranking(lasting: Searcher, explain: Explain, weight: float) -> None:
    for fusion in FUSIONS:
        for legs in LEGS:
            rerank = Rerank(model="judge", depth=3, weight=weight)
            query = Query(text=TEXT, k=5, fusion=fusion, legs=legs, rerank=rerank, explain=explain)
            hits = lasting.search("varied", query).hits
            assert len(hits) == 5
            for hit in hits:
                adds_up(hit)


@pytest.mark.parametrize(
    ("depth", "weight", "size", "said"),
    [
        (4, 0.25, 1.0, "(1 - weight) * -low / (high - low) of the window"),
        (1, 0.25, 1.0, "1 - weight: the window's fused scores have no spread"),
        (4, 0.25, 1e-308, "1 - weight: the window's fused scores have no spread"),
        (4, 1.0, 1.0, None),
    ],
)
def test_all_judged_hits_share_a_constant(
    lasting: Searcher, depth: int, weight: float, size: float, said: str | None
) -> None:
    fusion, rerank = Fusion(method="rrf", weights=(size, size)), Rerank(model="judge", depth=depth, weight=weight)
    fused = [hit.score for hit in lasting.search("varied", Query(text=TEXT, k=depth, fusion=fusion)).hits]
    spread = said is not None and "high" in said
    expected = -(1 - weight) * min(fused) / (max(fused) - min(fused)) if spread else 1 - weight
    query = Query(text=TEXT, k=6, fusion=fusion, rerank=rerank, explain=Explain.SCORES)
    hits = lasting.search("varied", query).hits
    for place, hit in enumerate(hits):
        adds_up(hit)
        assert hit.explanation is not None
        lines = [line for line in hit.explanation.ledger.details if line.kind == "constant"]
        assert [line.description for line in lines] == ([said] if said is not None and place < depth else [])
        assert [line.value for line in lines] == [pytest.approx(expected)] * len(lines)


def test_a_hit_is_explained_with_the_score_that_it_was_shown_with(lasting: Searcher) -> None:
    query = Query(text=TEXT, k=12, rerank=Rerank(model="judge", depth=6, weight=0.5))
    for hit in lasting.search("varied", query).hits:
        [explained] = lasting.explain("varied", query, hit.id).hits
        assert (explained.score, explained.scores) == (hit.score, hit.scores)
        adds_up(explained)
    with pytest.raises(HitNotFound):
        lasting.explain("varied", query, 10**9)


def test_thresholds_decide_what_is_judged_in_every_explanation(lasting: Searcher, varied: Database) -> None:
    """The score of a hit depends on which others come into the window."""
    rerank, views = Rerank(model="judge", depth=6, weight=0.5), Views(varied)
    plain = Query(text=TEXT, k=6, rerank=rerank, explain=Explain.CONTRAST)
    worst = sorted(hit.scores["dense"].raw for hit in lasting.search("varied", plain).hits)[2]
    query = replace(plain, selection=Selection(min_scores={Leg.DENSE: worst}))
    hits = lasting.search("varied", query).hits
    assert {hit.id: hit.score for hit in hits} != {hit.id: hit.score for hit in lasting.search("varied", plain).hits}
    for hit in hits:
        [explained] = lasting.explain("varied", query, hit.id).hits
        assert (explained.score, explained.scores) == (hit.score, hit.scores)
        assert hit.explanation is not None
        kept = ExplanationBody.of(hit.explanation).model_dump(mode="json")
        replayed = replay(lasting, views, kept)
        assert (replayed.agrees, replayed.changed) == (True, ())
        contrast = hit.explanation.contrast
        if contrast is not None and contrast.swap is not None:
            steered = replace(query, controls=contrast.swap.controls, explain=Explain.NONE, k=50)
            ranked = [other.id for other in lasting.search("varied", steered).hits]
            assert ranked.index(contrast.other) + 1 == contrast.swap.rank_after


def test_contrast_of_hits_on_either_side_of_the_window(lasting: Searcher) -> None:
    query = Query(text=TEXT, k=4, rerank=Rerank(model="judge", depth=2, weight=0.3))
    hits = lasting.search("varied", query).hits
    for upper, lower in ((hits[0], hits[1]), (hits[1], hits[2])):
        explanation = explain_hit(lasting, "varied", query, upper.id, above=lower.id).hits[0].explanation
        assert explanation is not None
        assert explanation.contrast is not None
        tree = explanation.contrast.ledger
        assert tree.value == pytest.approx(upper.score - lower.score, abs=1e-9)
        for branch in branches(tree):
            assert math.fsum(d.value for d in branch.details) == pytest.approx(branch.value, abs=1e-6)
        [line] = [line for line in tree.details if line.kind == "rerank"]
        there = lower.scores["rerank"].raw if "rerank" in lower.scores else 0.0
        assert line.value == pytest.approx(0.3 * (upper.scores["rerank"].raw - there))
    with pytest.raises(InvalidQuery, match="ask why"):
        explain_hit(lasting, "varied", query, hits[2].id, above=hits[1].id)


def test_replay_names_another_reranker(varied: Database, encoder: LocalEncoder) -> None:
    views, judge = Views(varied), Opinionated()
    searcher = Searcher(views, only(encoder), Analyzer(), rerankers={"judge": judge}.__getitem__)
    query = Query(text=TEXT, k=3, rerank=Rerank(model="judge", depth=5, weight=0.6), explain=Explain.SCORES)
    explanation = searcher.search("varied", query).hits[0].explanation
    assert explanation is not None
    kept = ExplanationBody.of(explanation).model_dump(mode="json")
    assert kept["provenance"]["rerank"] == {
        "model": "judge", "fingerprint": "f" * 32, "depth": 5, "weight": 0.6,
    }  # fmt: skip
    same_again = replay(searcher, views, kept)
    assert same_again.agrees
    assert same_again.changed == ()

    class Other(Opinionated):
        fingerprint = "0" * 32

        def rerank(self, query: str, documents: Sequence[str], **options: Any) -> Relevance:
            count = len(documents)
            ones = np.ones(count, dtype=np.int64)
            return Relevance(scores=np.full(count, 0.5), token_counts=ones, truncated=np.zeros(count, dtype=np.bool_))

    other = Searcher(views, only(encoder), Analyzer(), rerankers={"judge": Other()}.__getitem__)
    replayed = replay(other, views, kept)
    assert not replayed.agrees
    assert replayed.changed == (Changed.MODEL,)
    gone = replay(Searcher(views, only(encoder), Analyzer()), views, kept)
    assert (gone.agrees, gone.changed, gone.score_now) == (False, (Changed.MODEL,), None)
