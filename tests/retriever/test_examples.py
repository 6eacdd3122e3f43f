"""More like these and less like those, against Rocchio's formula written out slowly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from core.errors import DocumentNotFound, HitNotFound, InvalidQuery
from core.prompts import Prompt
from core.records import CollectionSettings, Float64Array, Representation
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.examples import ALPHA, BETA, GAMMA, TERMS
from retriever.inputs import Inputs
from retriever.legs import Leg
from retriever.query import Query
from retriever.searcher import Searcher
from store import Database, StoredPassage, Views
from tests.retriever.pools import with_pools_of

DENSE, SPARSE = (Leg.DENSE,), (Leg.SPARSE,)
LIKE, UNLIKE = ("console", "fashion-long"), ("television",)


@pytest.fixture(scope="module")
def stored(database: Database) -> dict[str, list[StoredPassage]]:
    """The passages of every document."""
    found: dict[str, list[StoredPassage]] = {}
    with Views(database).open("things") as view:
        for passage in view.fetch(np.sort(view.nearest(np.eye(384, dtype=np.float32)[0], 10_000).ids)):
            found.setdefault(passage.document_id, []).append(passage)
    assert len(found["fashion-long"]) > 1
    return found


@pytest.mark.parametrize("text", ["", "a red dress"])
def test_the_dense_leg_follows_rocchio(
    searcher: Searcher, encoder: LocalEncoder, database: Database, stored: dict[str, list[StoredPassage]], text: str
) -> None:
    with Views(database).open("things") as view:
        ids = np.array([p.id for passages in stored.values() for p in passages])
        vectors = dict(zip(ids.tolist(), view.vectors(ids).astype(np.float64), strict=True))

    def mean(documents: tuple[str, ...]) -> Float64Array:
        return np.mean([np.mean([vectors[p.id] for p in stored[d]], axis=0) for d in documents], axis=0)

    wanted = BETA * mean(LIKE) - GAMMA * mean(UNLIKE)
    if text:
        wanted = wanted + ALPHA * encoder.encode([Prompt.of(text)], Representation.QUERY).vectors[0]
    wanted /= np.linalg.norm(wanted)
    found = searcher.search("things", Query(text=text, inputs=Inputs(like=LIKE, unlike=UNLIKE), legs=DENSE, k=200))
    assert {hit.document_id for hit in found.hits} == set(stored) - {*LIKE, *UNLIKE}
    assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)
    for hit in found.hits:
        assert hit.score == pytest.approx(vectors[hit.id] @ wanted, abs=1e-6)
        assert hit.score == pytest.approx(max(vectors[p.id] @ wanted for p in stored[hit.document_id]), abs=1e-6)


@pytest.mark.parametrize("text", ["", "gaming dress"])
def test_the_sparse_leg_looks_for_the_strongest_terms(
    searcher: Searcher, database: Database, stored: dict[str, list[StoredPassage]], text: str
) -> None:
    analyzer, titles = Analyzer(), CollectionSettings().title_weight
    counts = {
        p.id: Counter(t.text for text in (*[p.title] * titles, p.text) for t in analyzer.analyze(text, "en"))
        for passages in stored.values()
        for p in passages
    }
    average = sum(c.total() for c in counts.values()) / len(counts)

    def weight(passage: int, term: str) -> float:
        count = counts[passage]
        return count[term] / (count[term] + 1.2 * (1 - 0.75 + 0.75 * count.total() / average))

    def mean(documents: tuple[str, ...]) -> Counter[str]:
        found: Counter[str] = Counter()
        for document in documents:
            for passage in stored[document]:
                for term in counts[passage.id]:
                    found[term] += weight(passage.id, term) / len(stored[document]) / len(documents)  # type: ignore[assignment]
        return found

    own = Counter(t.text for t in analyzer.analyze(text, "en"))
    liked, unliked = mean(LIKE), mean(UNLIKE)
    factors = {t: ALPHA * own[t] + BETA * liked[t] - GAMMA * unliked[t] for t in {*own, *liked}}
    with Views(database).open("things") as view:
        idf = view.term_statistics(sorted(factors)).idf
    fresh = sorted((t for t in factors if t not in own and factors[t] > 0), key=lambda t: (-factors[t] * idf[t], t))
    kept = {t: max(factors[t], 0.0) for t in (*own, *fresh[:TERMS])}
    found = searcher.search("things", Query(text=text, inputs=Inputs(like=LIKE, unlike=UNLIKE), legs=SPARSE, k=200))
    assert found.hits
    assert not {hit.document_id for hit in found.hits} & {*LIKE, *UNLIKE}
    for hit in found.hits:
        assert hit.score == pytest.approx(sum(kept[t] * idf[t] * weight(hit.id, t) for t in kept), rel=1e-4)


def test_a_liked_document_finds_its_kind_and_an_unliked_one_sinks_its_own(searcher: Searcher) -> None:
    def mean_rank(inputs: Inputs, kind: str) -> float:
        hits = searcher.search("things", Query(inputs=inputs, k=200)).hits
        ranks = [rank for rank, hit in enumerate(hits) if hit.metadata["kind"] == kind]
        return float(np.mean(ranks))

    fashion, titles = "fashion-long", "titles-long"
    alone = Inputs(like=(fashion,))
    assert mean_rank(alone, "fashion") < mean_rank(alone, "titles") - 20
    both = Inputs(like=(fashion, titles))
    less = Inputs(like=(fashion,), unlike=(titles,))
    assert mean_rank(less, "titles") > mean_rank(alone, "titles") > mean_rank(both, "titles")


def test_a_hit_is_an_example_by_its_own_passage_and_hides_its_document(
    searcher: Searcher, database: Database, stored: dict[str, list[StoredPassage]]
) -> None:
    passage = stored["fashion-long"][1]
    found = searcher.search("things", Query(inputs=Inputs(like=(passage.id,)), legs=DENSE, k=200)).hits
    assert "fashion-long" not in {hit.document_id for hit in found}
    with Views(database).open("things") as view:
        [vector] = view.vectors(np.array([passage.id]))
    same = searcher.search("things", Query(inputs=Inputs(vector=vector), legs=DENSE, k=201)).hits
    assert [hit.id for hit in found] == [hit.id for hit in same if hit.document_id != "fashion-long"]


def test_the_order_of_examples_does_not_matter_and_no_page_is_short(
    searcher: Searcher, stored: dict[str, list[StoredPassage]], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Query(text="a red dress", inputs=Inputs(like=LIKE, unlike=UNLIKE), k=30)
    hits = searcher.search("things", query).hits
    other = searcher.search("things", replace(query, inputs=Inputs(like=LIKE[::-1], unlike=UNLIKE))).hits
    assert [hit.id for hit in hits] == [hit.id for hit in other]
    with_pools_of(2, monkeypatch)
    assert len(searcher.search("things", replace(query, k=len(stored) - 3)).hits) == len(stored) - 3


def test_examples_that_are_not_there_are_named(searcher: Searcher) -> None:
    with pytest.raises(DocumentNotFound, match="'nowhere'") as missing:
        searcher.search("things", Query(inputs=Inputs(like=("console",), unlike=("nowhere",))))
    assert missing.value.param == "unlike"
    with pytest.raises(HitNotFound, match="passage 999999") as gone:
        searcher.search("things", Query(inputs=Inputs(like=(999_999,))))
    assert gone.value.param == "like"
    with pytest.raises(DocumentNotFound):
        searcher.search("things", Query(inputs=Inputs(like=("lone \ud800",))))


def test_a_query_that_its_examples_cancel_is_refused(
    searcher: Searcher, database: Database, stored: dict[str, list[StoredPassage]]
) -> None:
    with Views(database).open("things") as view:
        [vector] = view.vectors(np.array([stored["console"][0].id]))
    opposite = -vector * np.float32(BETA / ALPHA)
    with pytest.raises(InvalidQuery, match="cancel out"):
        searcher.search("things", Query(inputs=Inputs(vector=opposite, like=("console",))))
