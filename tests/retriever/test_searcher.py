"""Searches of a real collection, against rankings written out slowly."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidControl, InvalidFilter, InvalidQuery, ModelMismatch, TooLarge
from core.filters import parse_filter
from core.passages import passage_prompt, prompt_title
from core.prompts import ControlOptions, Prompt, TextControl
from core.records import CollectionSettings, Representation
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.lexical.stopwords import FUNCTION_WORDS
from embedder.local import LocalEncoder
from retriever.fusion import Fusion
from retriever.legs import Leg
from retriever.query import Explain, Query, steer
from retriever.searcher import Searcher
from store import Database, StoredPassage, Views

DENSE, SPARSE = (Leg.DENSE,), (Leg.SPARSE,)
QUERIES = [
    "I want to play on my TV.",
    "red dress for a summer wedding",
    "how do I feed a cat",
    "a story of war in the desert",
    "gaming console and streaming",
    "wolf wolf wolf",
]


@pytest.fixture(scope="module")
def stored(database: Database) -> list[StoredPassage]:
    """Every passage of the collection, by rising id."""
    with Views(database).open("things") as view:
        pool = view.nearest(np.eye(384, dtype=np.float32)[0], 10_000)
        return view.fetch(np.sort(pool.ids))


def prompt_of(passage: StoredPassage, encoder: LocalEncoder) -> str:
    return passage_prompt(prompt_title(passage.title, CollectionSettings(), encoder), passage.text)


def slow_dense(encoder: LocalEncoder, stored: list[StoredPassage], query: Query) -> dict[int, float]:
    prompts = [Prompt.of(prompt_of(p, encoder)) for p in stored]
    vectors = encoder.encode(prompts, Representation.DOCUMENT).vectors.astype(np.float64)
    asked = encoder.encode([Prompt.of(query.text, controls=query.controls)], Representation.QUERY).vectors[0]
    return {p.id: float(v @ asked.astype(np.float64)) for p, v in zip(stored, vectors, strict=True)}


def slow_bm25(encoder: LocalEncoder, stored: list[StoredPassage], factors: dict[str, float]) -> dict[int, float]:
    """BM25 of English texts, from the formula, a dictionary a passage. `factors`: term to factor."""
    counts = {p.id: Counter(t.text for t in Analyzer().analyze(prompt_of(p, encoder), "en")) for p in stored}
    for p in stored:  # titles count twice
        counts[p.id] += Counter(t.text for t in Analyzer().analyze(p.title, "en"))
    average = sum(c.total() for c in counts.values()) / len(counts)
    scores = {}
    for id_, count in counts.items():
        score = 0.0
        for term, factor in factors.items():
            df = sum(term in other for other in counts.values())
            idf = math.log(1 + (len(counts) - df + 0.5) / (df + 0.5))
            length = 1 - 0.75 + 0.75 * count.total() / average
            score += factor * idf * count[term] / (count[term] + 1.2 * length)
        scores[id_] = score
    return scores


def terms_of(text: str) -> dict[str, float]:
    """Of a query that is more than function words: these are left out."""
    found = Analyzer().analyze(text, "en")
    kept = [term.text for term in found if text[term.start : term.end].lower() not in FUNCTION_WORDS["en"]]
    return {term: float(n) for term, n in Counter(kept).items()}


def best_of_documents(stored: list[StoredPassage], scores: dict[int, float]) -> list[tuple[int, float]]:
    by_document: dict[str, tuple[int, float]] = {}
    for p in stored:
        if p.document_id not in by_document or scores[p.id] > by_document[p.document_id][1]:
            by_document[p.document_id] = (p.id, scores[p.id])
    return sorted(by_document.values(), key=lambda hit: (-hit[1], hit[0]))


@pytest.mark.parametrize("text", QUERIES)
def test_each_leg_and_their_fusion_equal_the_slow_ranking(
    searcher: Searcher, encoder: LocalEncoder, stored: list[StoredPassage], text: str
) -> None:
    query = Query(text=text, k=30, fusion=Fusion(method="convex"))
    dense, sparse = slow_dense(encoder, stored, query), slow_bm25(encoder, stored, terms_of(text))
    low, high, most = min(dense.values()), max(dense.values()), max(sparse.values()) or 1.0
    fused = {i: 0.5 * (dense[i] - low) / (high - low) + 0.5 * sparse[i] / most for i in dense}
    for legs, expected in ((DENSE, dense), (SPARSE, sparse), (None, fused)):
        found = searcher.search("things", replace(query, legs=legs)).hits
        wanted = best_of_documents(stored, expected)[: len(found)]
        assert (
            len(found) == 30
            if legs != SPARSE
            else len(found) == min(30, sum(s > 0 for _, s in best_of_documents(stored, sparse)))
        )
        assert [hit.score for hit in found] == pytest.approx([score for _, score in wanted], abs=2e-6)
        clear = [
            i
            for i, (_, s) in enumerate(wanted)
            if all(abs(s - other) > 1e-5 for j, (_, other) in enumerate(wanted) if j != i)
        ]
        assert [found[i].id for i in clear] == [wanted[i][0] for i in clear]


def test_the_auto_fusion_says_what_it_chose_and_why(searcher: Searcher) -> None:
    """Its answer is that of a convex fusion with the weight that it says it chose."""
    for text in QUERIES:
        query = Query(text=text, k=20, explain=Explain.SCORES)
        found = searcher.search("things", query)
        assert found.choice is not None
        chosen = found.choice.weights
        fixed = searcher.search("things", replace(query, fusion=Fusion(method="convex", alpha=chosen[Leg.DENSE])))
        assert fixed.choice is None
        assert [hit.id for hit in found.hits] == [hit.id for hit in fixed.hits]
        assert [hit.score for hit in found.hits] == pytest.approx([hit.score for hit in fixed.hits], abs=1e-12)
        assert searcher.search("things", query).choice == found.choice
        explanation = found.hits[0].explanation
        assert explanation is not None
        assert f"agree to {found.choice.agreement:.2f}" in explanation.ledger.description
        for line, seen in zip(explanation.ledger.details, found.choice.legs.values(), strict=True):
            assert f"starts from {seen.prior:.2f}, decisive by {seen.decisiveness:.2f}" in line.description
    assert searcher.search("things", Query(text=QUERIES[0], legs=DENSE)).choice is None


def test_a_word_that_no_model_knows_is_left_to_the_sparse_leg(searcher: Searcher) -> None:
    """Its one match stands alone in the sparse leg, and nothing stands out in the dense one."""
    found = searcher.search("things", Query(text="130 fps"))
    assert found.choice is not None
    assert found.hits[0].document_id == "console"
    assert found.choice.weights[Leg.SPARSE] > 0.5


def test_reciprocal_ranks_equal_the_slow_version(
    searcher: Searcher, encoder: LocalEncoder, stored: list[StoredPassage]
) -> None:
    query = Query(text=QUERIES[1], fusion=Fusion(method="rrf"), k=20)
    dense, sparse = slow_dense(encoder, stored, query), slow_bm25(encoder, stored, terms_of(query.text))
    ranks: dict[int, float] = dict.fromkeys(dense, 0.0)
    for scores in (dense, {i: s for i, s in sparse.items() if s > 0}):
        for place, id_ in enumerate(sorted(scores, key=lambda i: (-scores[i], i)), start=1):
            ranks[id_] += 1 / (60 + place)
    found = searcher.search("things", query).hits
    assert [(h.id, round(h.score, 9)) for h in found] == [
        (i, round(s, 9)) for i, s in best_of_documents(stored, ranks)[:20]
    ]


def test_a_long_document_is_one_hit_with_its_best_passage(searcher: Searcher, stored: list[StoredPassage]) -> None:
    assert Counter(p.document_id for p in stored)["fashion-long"] > 1
    found = searcher.search("things", Query(text="red dress for a summer wedding", k=200)).hits
    ids = [hit.document_id for hit in found]
    assert len(set(ids)) == len(ids) == len({p.document_id for p in stored})


def test_pages_make_up_one_big_page_and_searches_repeat_exactly(searcher: Searcher) -> None:
    query = Query(text=QUERIES[0], k=30)
    whole = searcher.search("things", query).hits
    pages = [searcher.search("things", replace(query, k=10, offset=o)).hits for o in (0, 10, 20)]
    assert tuple(hit for page in pages for hit in page) == whole == searcher.search("things", query).hits


def test_a_filter_holds_in_both_legs_and_a_true_one_changes_nothing(searcher: Searcher) -> None:
    query = Query(text=QUERIES[0], k=50)
    plain = searcher.search("things", query).hits
    assert searcher.search("things", replace(query, filter=parse_filter({"kind": {"exists": True}}))).hits == plain
    products = searcher.search("things", replace(query, filter=parse_filter({"kind": "product"}))).hits
    assert {hit.document_id for hit in products} == {"television", "console"}
    cheap = parse_filter({"and": [{"kind": "product"}, {"not": {"price": {"gte": 500}}}]})
    assert [h.document_id for h in searcher.search("things", replace(query, filter=cheap)).hits] == ["console"]
    nothing = parse_filter({"kind": "product", "price": {"lt": 1}})
    assert searcher.search("things", replace(query, filter=nothing)).hits == ()
    with pytest.raises(InvalidFilter, match="price"):
        searcher.search("things", replace(query, filter=parse_filter({"prise": 1})))


@pytest.mark.parametrize("legs", [DENSE, SPARSE, (*DENSE, *SPARSE)])
def test_factor_one_changes_nothing(searcher: Searcher, legs: tuple[Leg, ...]) -> None:
    text, controls = steer("I want to play^1 on my TV.", emphasis={"tv": 1})
    steered = searcher.search("things", Query(text=text, controls=controls, legs=legs)).hits
    assert steered == searcher.search("things", Query(text=text, legs=legs)).hits


def test_emphasis_moves_both_legs_and_a_suppressed_word_leaves_the_sparse_one(
    searcher: Searcher, encoder: LocalEncoder, stored: list[StoredPassage]
) -> None:
    text, controls = steer("gaming console or streaming movies", emphasis={"console": 7, "movies": 0})
    found = {h.id: h for h in searcher.search("things", Query(text=text, controls=controls, k=200)).hits}
    factors = terms_of(text) | dict.fromkeys(terms_of("console"), 7.0) | dict.fromkeys(terms_of("movies"), 0.0)
    sparse = slow_bm25(encoder, stored, factors)
    dense = slow_dense(encoder, stored, Query(text=text, controls=controls))
    for id_, hit in found.items():
        assert hit.scores["sparse"].raw == pytest.approx(sparse[id_], abs=1e-5)
        assert hit.scores["dense"].raw == pytest.approx(dense[id_], abs=1e-5)
    plain = {h.document_id: h for h in searcher.search("things", Query(text=text, k=200)).hits}
    steered = {h.document_id: h for h in found.values()}
    for leg in ("dense", "sparse"):
        lead = [h["console"].scores[leg].raw - h["television"].scores[leg].raw for h in (plain, steered)]
        assert lead[1] > lead[0]


def test_negative_emphasis_turns_the_dense_leg_away_and_the_sparse_one_does_not_look(searcher: Searcher) -> None:
    """Of hats for the beach and others, the white ones go down; the sums of the reasons still hold."""
    ranks = {}
    for written in ("a white^0 hat", "a white^-2 hat"):
        text, controls = steer(written)
        query = Query(text=text, controls=controls, k=100, explain=Explain.WORDS)
        hits = searcher.search("things", query).hits
        white = [rank for rank, hit in enumerate(hits) if hit.text.casefold().startswith("white")]
        ranks[written] = np.mean(white) if white else math.inf
        for hit in hits:
            assert hit.explanation is not None
            assert hit.explanation.ledger.value == pytest.approx(hit.score, abs=1e-6)
        named = {share.text: share for share in hits[0].explanation.query_words}  # type: ignore[union-attr]
        assert named["white"].sparse == 0
        assert named["white"].factor == controls[0].factor
    assert ranks["a white^-2 hat"] > ranks["a white^0 hat"]
    with pytest.raises(InvalidQuery, match="suppress every word") as refused:
        Query(text="white", controls=(TextControl(start=0, length=5, factor=-1),))
    assert refused.value.param == "controls"


def test_stop_words_alone_leave_the_sparse_leg_silent_and_say_so(searcher: Searcher) -> None:
    found = searcher.search("things", Query(text="to be or not to be"))
    assert found.sparse_silent
    assert len(found.hits) == 10
    assert all(hit.scores["sparse"].norm == 0 for hit in found.hits)
    assert searcher.search("things", Query(text="to be or not to be", legs=SPARSE)).hits == ()


def test_an_empty_collection_gives_no_hits(searcher: Searcher) -> None:
    assert searcher.search("empty", Query(text="wolf", explain=Explain.WORDS)).hits == ()


def test_another_model_is_refused(database: Database, encoder: LocalEncoder) -> None:
    class Other:
        name = "other"
        fingerprint = "0" * 32
        encode = encoder.encode

    with pytest.raises(ModelMismatch, match="all-MiniLM-L6-v2"):
        Searcher(Views(database), only(Other()), Analyzer()).search("things", Query(text="wolf"))  # type: ignore[arg-type]


def test_a_truncated_query_is_reported(searcher: Searcher) -> None:
    assert searcher.search("things", Query(text="wolf " * 300)).truncated_query
    assert not searcher.search("things", Query(text="wolf")).truncated_query


def test_a_sparse_score_depends_on_its_passage_alone(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on the other candidates, to the last bit, nor on how many terms are looked up at once."""
    text = "red dress summer wedding cat dog feed story war desert gaming console streaming movies internet wolf rain"
    query = Query(text=text, legs=SPARSE, k=200)
    scores = {hit.id: hit.score for hit in searcher.search("things", query).hits}
    groups = [{"kind": "product"}, *({"length": {"gt": n}} for n in range(40, 140, 10))]
    for group in groups:
        for hit in searcher.search("things", replace(query, filter=parse_filter(group))).hits:
            assert hit.score == scores[hit.id]
    monkeypatch.setattr("retriever.terms.TERMS_AT_ONCE", 2)
    for hit in searcher.search("things", query).hits:
        assert hit.score == pytest.approx(scores[hit.id], rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": 0}, InvalidQuery, "allowed are 1 to 1000"),
        ({"k": 10_000_000}, InvalidQuery, "allowed are 1 to 1000"),
        ({"controls": (TextControl(start=0, length=4, factor=0),)}, InvalidQuery, "suppress every word"),
        ({"offset": -1}, InvalidQuery, "offset must be 0 or more"),
        ({"offset": 995, "k": 10}, InvalidQuery, "at most 1000"),
        ({"legs": ()}, InvalidQuery, "some of dense, sparse, learned"),
        ({"legs": (Leg.DENSE, Leg.DENSE)}, InvalidQuery, "each once"),
        ({"text": ""}, InvalidQuery, "empty"),
        ({"text": " \n\t"}, InvalidQuery, "empty|white space"),
        ({"text": "a\x00b"}, InvalidQuery, "NUL"),
        ({"text": "a\ud800b"}, InvalidQuery, "surrogate"),
        ({"text": "wolf " * 300_000}, TooLarge, "1"),
        ({"controls": (TextControl(start=50, length=1, factor=2),)}, InvalidControl, "behind the text's end"),
        ({"controls": (TextControl(start=0, length=1, factor=2),) * 1001}, InvalidControl, "at most 1000"),
    ],
)
def test_bad_queries_are_refused(change: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Query(**({"text": "wolf"} | change))  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(
        alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=40
    ).filter(str.strip),
    factor=st.sampled_from([-1.0, 0.0, 0.3, 7.0]),
    threshold=st.sampled_from([None, 0.5]),
)
def test_any_text_can_be_searched_and_steered(
    searcher: Searcher, text: str, factor: float, threshold: float | None
) -> None:
    """Emoji, combining marks, right-to-left: whatever can be typed gives ten finite, ordered hits."""
    text = f"a {text}"  # whatever is suppressed, a word is left
    start = 2 + len(text) // 2
    covered = text[start : start + 5]
    controls = (TextControl(start=start, length=5, factor=factor),) if covered.strip() else ()  # no other is allowed
    options = ControlOptions(contextual_threshold=threshold)
    found = searcher.search("things", Query(text=text, controls=controls, options=options)).hits
    scores = [hit.score for hit in found]
    assert len(scores) == 10
    assert np.isfinite(scores).all()
    assert scores == sorted(scores, reverse=True)
