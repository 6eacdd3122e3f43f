"""The parts of an explanation add up, and the words that it names are those that matter."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DocumentNotFound, HitNotFound
from core.filters import parse_filter
from core.passages import passage_prompt
from core.prompts import Prompt
from core.records import Hit, Representation
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.fusion import Fusion
from retriever.ledger import HitParts, LegPart, ledger
from retriever.legs import Leg
from retriever.query import Explain, Query, steer
from retriever.searcher import Searcher
from retriever.selection import Selection
from retriever.terms import query_terms
from tests.retriever.conftest import branches, explained
from tests.retriever.pools import with_pools_of

LEGS = [(Leg.DENSE,), (Leg.SPARSE,), (Leg.DENSE, Leg.SPARSE)]
FUSIONS = [
    Fusion(),
    Fusion(alpha=0.2),
    Fusion(method="convex"),
    Fusion(method="convex", alpha=1.0),
    Fusion(method="rrf"),
    Fusion(method="rrf", weights=(0.5, 2)),
]
TEXTS = [
    "red^4 dress for a summer wedding",
    "how do I feed a cat^0.2",
    'a story of war "in the desert"^7',
    "I want to play^7 on my TV.",
    "to be or not to be",
    "\u4f60\u597d TV \u0448\u0430\u0445\u043c\u0430\u0442\u044b e\u0301t\u00e9 \U0001f3ae",
]


def assert_adds_up(hit: Hit) -> None:
    reasons = explained(hit)
    assert reasons.ledger.value == pytest.approx(hit.score, abs=1e-6)
    for branch in branches(reasons.ledger):
        assert math.fsum(d.value for d in branch.details) == pytest.approx(branch.value, abs=1e-6), branch.description
    by_query = math.fsum(w.dense + w.sparse for w in reasons.query_words) + reasons.query_rest
    assert by_query == pytest.approx(hit.score, abs=1e-6)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("explain", [Explain.SCORES, Explain.WORDS])
def test_the_parts_of_every_mode_sum_to_the_score(searcher: Searcher, text: str, explain: Explain) -> None:
    clean, controls = steer(text)
    for legs, fusion in itertools.product(LEGS, FUSIONS):
        query = Query(text=clean, controls=controls, legs=legs, fusion=fusion, explain=explain, k=4)
        for hit in searcher.search("things", query).hits:
            assert_adds_up(hit)


def test_reasons_change_no_score(searcher: Searcher) -> None:
    plain, *explained = (
        searcher.search("things", Query(text="red dress", explain=explain)).hits for explain in Explain
    )
    assert len(explained) == 3
    for hits in explained:
        assert [(h.id, h.score, h.scores) for h in plain] == [(h.id, h.score, h.scores) for h in hits]


def test_words_of_title_and_passage_point_into_their_texts(searcher: Searcher) -> None:
    query = Query(text="All about fashion and movies on television", explain=Explain.WORDS, k=20)
    seen = {True: 0, False: 0}
    for hit in searcher.search("things", query).hits:
        for word in explained(hit).words:
            assert (hit.title if word.in_title else hit.text)[word.start : word.end] == word.text
            seen[word.in_title] += 1
    assert seen[True]
    assert seen[False]


def test_shares_of_words_are_the_ledgers_words_and_terms(searcher: Searcher) -> None:
    hit = searcher.search("things", Query(text="gaming console for my TV", explain=Explain.WORDS, k=1)).hits[0]
    leaves = {"word": 0.0, "term": 0.0}
    for branch in branches(explained(hit).ledger):
        for detail in branch.details:
            if detail.kind in leaves:
                leaves[detail.kind] += detail.value
    shares = math.fsum(word.share for word in explained(hit).words)
    assert shares == pytest.approx(leaves["word"] + leaves["term"], abs=1e-9)


def test_the_dense_effect_of_a_word_is_what_pooling_without_it_costs(searcher: Searcher, encoder: LocalEncoder) -> None:
    query = Query(text="gaming console", legs=(Leg.DENSE,), explain=Explain.WORDS, k=1)
    hit = searcher.search("things", query).hits[0]
    prompt = passage_prompt(hit.title, hit.text)
    traces = encoder.trace([Prompt.of(prompt)], Representation.DOCUMENT)
    assert traces is not None
    asked = encoder.encode([Prompt.of(query.text)], Representation.QUERY).vectors[0].astype(np.float64)
    offset = len(prompt) - len(hit.text)
    for word in [w for w in explained(hit).words if not w.in_title]:
        starts = traces[0].spans[:, 0] - offset
        keep = traces[0].special | (starts < word.start) | (starts >= word.end)
        rest = traces[0].vectors[keep].astype(np.float64).sum(axis=0)
        without = rest @ asked / np.linalg.norm(rest)
        assert word.effect == pytest.approx(hit.score - without, abs=1e-5)


def test_the_word_that_was_asked_for_stands_out(searcher: Searcher) -> None:
    hit = searcher.search("things", Query(text="gaming console", explain=Explain.WORDS, k=1)).hits[0]
    assert hit.document_id == "console"
    assert explained(hit).significant
    top = max(explained(hit).words, key=lambda word: word.effect)
    assert top.text.lower() in ("console", "gaming")


def test_where_no_word_matters_the_explanation_says_so(searcher: Searcher) -> None:
    found = searcher.search("things", Query(text="gaming console", explain=Explain.WORDS, k=60)).hits
    for hit in found:
        largest = max(abs(word.effect) for word in explained(hit).words)
        assert explained(hit).significant == (largest > 0 and largest >= 0.02 * abs(hit.score))


def test_a_score_of_zero_is_no_words_doing(searcher: Searcher) -> None:
    last = searcher.search("things", Query(text="gaming console", explain=Explain.WORDS, k=200)).hits[-1]
    assert last.score == 0
    assert all(word.effect == 0 for word in explained(last).words)
    assert not explained(last).significant


def test_an_explanation_names_all_that_it_was_made_with(searcher: Searcher, encoder: LocalEncoder) -> None:
    text, controls = steer("play^7 on TV")
    result = searcher.search("things", Query(text=text, controls=controls, explain=Explain.WORDS, k=1))
    provenance = explained(result.hits[0]).provenance
    assert provenance["fingerprint"] == encoder.fingerprint
    assert provenance["seq"] == result.seq
    assert provenance["controls"] == [{"start": 0, "length": 4, "factor": 7.0, "token_overlap": "partial"}]


@pytest.mark.parametrize(
    "fusion", [Fusion(alpha=0.2), Fusion(method="convex", alpha=0.2), Fusion(method="rrf", k=10, weights=(1, 3))]
)
def test_a_score_can_be_computed_again_from_its_provenance(searcher: Searcher, fusion: Fusion) -> None:
    only = parse_filter({"kind": {"in": ["product", "long"]}, "not": {"price": {"gt": 500}}})
    query = Query(text="play on TV", fusion=fusion, filter=only, explain=Explain.SCORES)
    hit = searcher.search("things", query).hits[-1]
    said = json.loads(json.dumps(explained(hit).provenance))
    again = Query(
        text=said["query"],
        fusion=Fusion(method=said["fusion"], **said["fusion_parameters"]),
        filter=parse_filter(said["filter"]),
        legs=tuple(Leg(leg) for leg in said["legs"]),
    )
    assert searcher.search("things", again).hits[-1].score == hit.score


def test_a_rank_is_not_shared_out_over_a_cosine_below_zero() -> None:
    """In proportion, each word that pulled the passage up would count as pulling it down."""
    part = LegPart(leg=Leg.DENSE, raw=-0.02, rank=3, norm=1 / 63, weight=1.0, scale=None, constant=None)
    assert part.slope == 0
    tree = ledger(part.value, HitParts(legs=(part,), values={}), {}, None)
    assert [(leg.value, leg.details) for leg in tree.details] == [(part.value, ())]


@given(
    products=st.lists(st.floats(0, 20, allow_subnormal=False), min_size=3, max_size=3),
    low=st.floats(-1, 1),
    spread=st.floats(0.01, 10),
    weight=st.floats(0, 1),
    ranks_only=st.booleans(),
    rank=st.integers(1, 1000),
)
def test_any_sparse_leg_adds_up(
    products: list[float], low: float, spread: float, weight: float, ranks_only: bool, rank: int
) -> None:
    terms = query_terms("wolf rain^2 sun", steer("wolf rain^3 sun")[1], ["en"], Analyzer())
    values = np.array([*products, *[0.0] * (len(terms.terms) - 3)])
    raw = float(values @ terms.factors)
    norm = 1 / (60 + rank) if ranks_only else (raw - low) / spread
    scale, constant = (None, None) if ranks_only else (weight / spread, -weight * low / spread)
    part = LegPart(leg=Leg.SPARSE, raw=raw, rank=rank, norm=norm, weight=weight, scale=scale, constant=constant)
    tree = ledger(part.value, HitParts(legs=(part,), values={Leg.SPARSE: values}), {Leg.SPARSE: terms}, None)
    for branch in branches(tree):
        assert math.fsum(d.value for d in branch.details) == pytest.approx(branch.value, rel=1e-9, abs=1e-9)


def test_one_hit_can_be_explained_by_id(searcher: Searcher) -> None:
    query = Query(text="I want to play on my TV.", k=5)
    last = searcher.search("things", query).hits[-1]
    alone = searcher.explain("things", query, last.id).hits
    assert len(alone) == 1
    assert replace(alone[0], explanation=None) == last
    with pytest.raises(HitNotFound, match="passage 999999 is not among"):
        searcher.explain("things", query, 999999)


def test_a_document_is_explained_by_the_passage_that_a_search_shows(searcher: Searcher) -> None:
    query = Query(text="I want to play on my TV.", k=20)
    for hit in searcher.search("things", query).hits:
        [explained] = searcher.explain("things", query, hit.document_id).hits
        assert replace(explained, explanation=None) == hit
    with pytest.raises(DocumentNotFound, match="no document 'nobody'"):
        searcher.explain("things", query, "nobody")
    filtered = replace(query, selection=Selection(min_scores={Leg.DENSE: 0.999}))
    with pytest.raises(HitNotFound, match=f"document '{hit.document_id}' has no passage among the 0 candidates"):
        searcher.explain("things", filtered, hit.document_id)


def test_every_hit_of_a_page_can_be_explained_however_deep_its_pools_went(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pools_of(2, monkeypatch)
    query = Query(text="red dress for a summer wedding", k=20, offset=90)
    page = searcher.search("things", query).hits
    assert len(page) > 10
    for hit in page:
        assert (
            replace(searcher.explain("things", replace(query, k=1, offset=0), hit.id).hits[0], explanation=None) == hit
        )
