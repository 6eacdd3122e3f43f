"""Sentences, other methods, contrasts and advice: each number against a slow way to it, each promise tried out."""

import contextlib
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import HitNotFound, InvalidControl, InvalidQuery
from core.passages import passage_prompt
from core.prompts import Prompt, TextControl, TextItem, TokenIdsItem
from core.records import Explanation, Hit, HitExplanation, Representation
from embedder.densemodels import only
from embedder.explaining.request import Granularity
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever.contrast import contrasted, difference
from retriever.fusion import Fusion
from retriever.inputs import Inputs, text_of
from retriever.legs import Leg
from retriever.query import Explain, Query, steer
from retriever.reasons import explain_hit
from retriever.searcher import Searcher
from retriever.stopwatch import Stopwatch
from retriever.trials import SHOWN, Change, Trials
from retriever.unit_request import UnitMethod, UnitRequest
from store import Database, Views, dense
from store.segments.sealing import seal
from tests.collections import create_for
from tests.retriever.conftest import documents
from tests.retriever.pools import with_pools_of

TEXTS = ["All about fashion and movies on television", "I want to play^7 on my TV.", "red dress for a summer wedding"]
FUSIONS = [Fusion(), Fusion(method="convex"), Fusion(method="rrf")]


def explained(hit: Hit) -> HitExplanation:
    assert hit.explanation is not None
    return hit.explanation


def steered(text: str, **others: object) -> Query:
    clean, controls = steer(text)
    return Query(text=clean, controls=controls, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: str(fusion.method))
@pytest.mark.parametrize("text", TEXTS)
def test_words_make_sentences_and_legs_make_the_score(searcher: Searcher, text: str, fusion: Fusion) -> None:
    for hit in searcher.search("things", steered(text, fusion=fusion, explain=Explain.WORDS, k=6)).hits:
        why = explained(hit)
        for in_title in (True, False):
            words = [word for word in why.words if word.in_title == in_title]
            for sentence in (s for s in why.sentences if s.in_title == in_title):
                inside = [word for word in words if sentence.start <= word.start < sentence.end]
                assert sentence.share == pytest.approx(math.fsum(word.share for word in inside), abs=1e-9)
                for leg, said in sentence.legs.items():
                    held = math.fsum(word.legs[leg].share or 0.0 for word in inside)
                    assert said.share == pytest.approx(held, abs=1e-9)
            text_of = hit.title if in_title else hit.text
            assert all(text_of[s.start : s.end] == s.text for s in why.sentences if s.in_title == in_title)
        assert math.fsum(s.share or 0.0 for s in why.sentences) == pytest.approx(
            math.fsum(word.share for word in why.words), abs=1e-9
        )
        for leg in (leg for leg in why.ledger.details if leg.details):
            name = leg.description.split(":")[0]
            raw = hit.scores[name].raw
            total = math.fsum(word.legs[name].share or 0.0 for word in why.words)
            if name == "sparse":
                assert total == pytest.approx(raw, abs=1e-9)
            else:  # special tokens and marks have the rest
                assert total == pytest.approx(raw, abs=0.5)


def test_a_sentence_leaves_the_pool_with_all_its_tokens(searcher: Searcher, encoder: LocalEncoder) -> None:
    query = Query(text="gaming console", legs=(Leg.DENSE,), explain=Explain.WORDS, k=1)
    hit = searcher.search("things", query).hits[0]
    prompt = passage_prompt(hit.title, hit.text)
    traces = encoder.trace([Prompt.of(prompt)], Representation.DOCUMENT)
    assert traces is not None
    [trace] = traces
    asked = encoder.encode([Prompt.of(query.text)], Representation.QUERY).vectors[0].astype(np.float64)
    offset = len(prompt) - len(hit.text)
    assert len(explained(hit).sentences) == 2
    for sentence in explained(hit).sentences:
        starts = trace.spans[:, 0] - offset
        keep = trace.special | (starts < sentence.start) | (starts >= sentence.end)
        rest = trace.vectors[keep].astype(np.float64).sum(axis=0)
        assert sentence.effect == pytest.approx(hit.score - rest @ asked / np.linalg.norm(rest), abs=1e-5)


@pytest.mark.parametrize("granularity", [None, *(one for one in Granularity if one is not Granularity.CUSTOM)])
def test_atman_suppresses_each_part_once(
    searcher: Searcher, encoder: LocalEncoder, granularity: Granularity | None
) -> None:
    units = UnitRequest(method=UnitMethod.ATMAN, granularity=granularity, control_factor=0.2)
    query = Query(text="All about fashion on television", units=units)
    hit = searcher.search("things", replace(query, units=None, k=1)).hits[0]
    why = explained(searcher.explain("things", query, hit.id).hits[0])
    asked = encoder.encode([Prompt.of(query.text)], Representation.QUERY).vectors[0]
    title = f"{hit.title} " if hit.title else ""
    text = title + hit.text
    whole = float(encoder.encode([Prompt.of(text)], Representation.DOCUMENT).vectors[0] @ asked)
    assert why.units
    for unit in sorted(why.units, key=lambda unit: -abs(unit.effect))[:3]:
        start = unit.start + (0 if unit.in_title else len(title))
        control = TextControl(start=start, length=unit.end - unit.start, factor=0.2)
        less = float(encoder.encode([Prompt.of(text, (control,))], Representation.DOCUMENT).vectors[0] @ asked)
        assert unit.legs["dense"].effect == pytest.approx(whole - less, abs=2e-5)
        inside = [w for w in why.words if w.in_title == unit.in_title and unit.start <= w.start and w.end <= unit.end]
        if granularity is not Granularity.TOKEN:
            assert unit.legs["sparse"].effect == pytest.approx(
                0.8 * math.fsum(word.legs["sparse"].effect for word in inside), abs=1e-9
            )
        slopes = {leg.description.split(":")[0]: leg for leg in why.ledger.details}
        assert set(unit.legs) == set(slopes)


def test_integrated_gradients_find_the_word_that_was_asked_for(searcher: Searcher) -> None:
    units = UnitRequest(method=UnitMethod.INTEGRATED_GRADIENTS, granularity=Granularity.WORD)
    query = Query(text="gaming console", units=units, legs=(Leg.DENSE,))
    hit = searcher.search("things", replace(query, units=None, k=1)).hits[0]
    why = explained(searcher.explain("things", query, hit.id).hits[0])
    top = max(why.units, key=lambda unit: unit.effect)
    assert top.text.lower().strip(".") in ("console", "gaming")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"granularity": Granularity.CUSTOM}, InvalidQuery, "token, word, sentence"),
        ({"control_factor": 1.0}, InvalidControl, "below 1"),
        ({"control_factor": math.nan}, InvalidControl, "below 1"),
        ({"control_factor": -0.1}, InvalidControl, "from 0"),
    ],
)
def test_bad_wishes_for_units_are_refused(given: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        UnitRequest(method=UnitMethod.ATMAN, **given)  # type: ignore[arg-type]


def lines(tree: Explanation) -> list[Explanation]:
    return [tree, *itertools.chain.from_iterable(lines(detail) for detail in tree.details)]


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: str(fusion.method))
def test_contrasts_add_up_and_their_swaps_swap(searcher: Searcher, fusion: Fusion) -> None:
    query = steered("red dress for a summer^2 wedding", fusion=fusion, explain=Explain.CONTRAST, k=4)
    hits = searcher.search("things", query).hits
    assert explained(hits[-1]).contrast is None
    swapped = 0
    for upper, lower in itertools.pairwise(hits):
        contrast = explained(upper).contrast
        assert contrast is not None
        assert contrast.other == lower.id
        assert contrast.ledger.value == pytest.approx(upper.score - lower.score, abs=1e-12)
        for line in lines(contrast.ledger):
            if line.details:
                assert math.fsum(detail.value for detail in line.details) == pytest.approx(line.value, abs=1e-6)
        words = [line for line in lines(contrast.ledger) if line.kind == "word"]
        ours = {word.text for word in explained(upper).query_words}
        assert {line.description.split("'")[1] for line in words} <= ours
        if contrast.swap is not None:
            swapped += 1
            changed = replace(query, controls=contrast.swap.controls, explain=Explain.NONE, k=30)
            ids = [hit.document_id for hit in searcher.search("things", changed).hits]
            assert ids.index(lower.document_id) + 1 == contrast.swap.rank_after
            assert upper.document_id not in ids[: contrast.swap.rank_after]
            assert contrast.swap.query is not None
            text, controls = steer(contrast.swap.query)
            assert (text, sorted(controls, key=str)) == (query.text, sorted(contrast.swap.controls, key=str))
    assert swapped


def test_without_time_the_ledgers_are_held_against_each_other_all_the_same(searcher: Searcher) -> None:
    query = Query(text="red dress for a summer wedding", k=5, explain=Explain.WORDS)
    hits = searcher.search("things", query).hits
    over = Stopwatch(timeout_ms=1, begun=-1e9)
    found = contrasted(lambda queries: searcher.search_many("things", queries), query, hits, over)
    for upper, lower in itertools.pairwise(found):
        contrast = explained(upper).contrast
        assert contrast is not None
        assert (contrast.swap, contrast.tried) == (None, 0)
        assert contrast.ledger.value == pytest.approx(upper.score - lower.score)
    late = searcher.search("things", replace(query, explain=Explain.CONTRAST, timeout_ms=100_000))
    assert late.left_out == ()


def test_a_pair_is_swapped_by_less_than_the_steps_of_the_page(searcher: Searcher) -> None:
    query = Query(text="I want to play games on my TV")
    hits = searcher.search("things", replace(query, k=8)).hits
    found = 0
    for upper, lower in [(hits[1], hits[4]), (hits[3], hits[6])]:
        answer = explain_hit(searcher, "things", query, upper.id, above=lower.id)
        assert [hit.id for hit in answer.hits] == [upper.id, lower.id]
        contrast = explained(answer.hits[0]).contrast
        assert contrast is not None
        assert contrast.ledger == difference(*answer.hits)
        if contrast.swap is None:
            continue
        found += 1
        changed = replace(query, controls=contrast.swap.controls, k=100)
        ids = [hit.document_id for hit in searcher.search("things", changed).hits]
        assert ids.index(lower.document_id) < ids.index(upper.document_id)
    assert found


def test_advice_raises_the_hit_when_it_is_followed(searcher: Searcher) -> None:
    query = Query(text="a story of war in the summer")
    hits = searcher.search("things", replace(query, k=30)).hits
    raised = 0
    for place in (5, 12, 20):
        hit = hits[place]
        answer = explain_hit(searcher, "things", query, hit.id, advise=True)
        advice = explained(answer.hits[0]).advice
        assert len(advice) <= SHOWN
        for steering in advice:
            assert steering.query is not None
            text, controls = steer(steering.query)
            ids = [h.document_id for h in searcher.search("things", Query(text=text, controls=controls, k=100)).hits]
            assert ids.index(hit.document_id) + 1 == steering.rank_after
            assert steering.rank_after < place + 1 == steering.rank_before
            raised += 1
    assert raised


def test_what_raises_a_hit_of_a_prompt_is_not_written_as_a_text(searcher: Searcher) -> None:
    """A text has no token ids: to search with it would be another search, with other ranks."""
    prompt = Prompt(items=(TextItem(text="red dress for a summer wedding"), TokenIdsItem(ids=(2003, 3000))))
    text, controls = text_of(prompt)
    query = Query(text=text, controls=controls, inputs=Inputs(prompt=prompt), legs=(Leg.SPARSE,))
    for hit in searcher.search("things", replace(query, k=30)).hits[1:]:
        advice = explained(explain_hit(searcher, "things", query, hit.id, advise=True).hits[0]).advice
        if advice:
            assert [steering.query for steering in advice] == [None] * len(advice)
            return
    raise AssertionError("nothing raises any of the hits")


def test_the_best_hit_needs_no_advice(searcher: Searcher) -> None:
    query = Query(text="gaming console")
    best = searcher.search("things", replace(query, k=1)).hits[0]
    assert explained(explain_hit(searcher, "things", query, best.id, advise=True).hits[0]).advice == ()


def test_a_query_without_words_has_nothing_to_be_steered_by(searcher: Searcher, encoder: LocalEncoder) -> None:
    vector = encoder.encode([Prompt.of("gaming console")], Representation.QUERY).vectors[0]
    inputs = replace(Query(text="x").inputs, vector=vector)
    hits = searcher.search("things", Query(inputs=inputs, explain=Explain.CONTRAST, k=3)).hits
    for upper, lower in itertools.pairwise(hits):
        contrast = explained(upper).contrast
        assert contrast is not None
        assert contrast.swap is None
        assert contrast.ledger.value == pytest.approx(upper.score - lower.score)
    for hit in hits:
        shares = math.fsum(word.share for word in explained(hit).words)
        assert explained(hit).query_words == ()
        assert shares == pytest.approx(hit.score, abs=0.5)
        assert max(explained(hit).words, key=lambda word: word.effect).effect > 0


def test_what_cannot_be_contrasted_is_refused(searcher: Searcher) -> None:
    query = Query(text="gaming console")
    first, second = searcher.search("things", replace(query, k=2)).hits
    with pytest.raises(InvalidQuery, match=f"ask why {first.id} is above {second.id}"):
        explain_hit(searcher, "things", query, second.id, above=first.id)
    with pytest.raises(InvalidQuery, match="another hit"):
        explain_hit(searcher, "things", query, first.id, above=first.id)
    with pytest.raises(HitNotFound):
        explain_hit(searcher, "things", query, first.id, above=10**9)


def test_a_change_that_the_query_cannot_take_ranks_nothing(searcher: Searcher) -> None:
    """A factor of 1000 cannot be raised further; neither can one more than the limit of controls be added."""
    query = Query(text="wolf rain", controls=(TextControl(start=0, length=4, factor=1000),))
    hit = searcher.search("things", query).hits[0]
    answer = explain_hit(searcher, "things", query, hit.id, advise=True)
    assert all(control.factor <= 1000 for one in explained(answer.hits[0]).advice for control in one.controls)


def test_what_was_tried_is_not_searched_again(searcher: Searcher) -> None:
    asked: list[int] = []

    def search(queries: list[Query]) -> list[object]:
        asked.append(len(queries))
        return searcher.search_many("things", queries)  # type: ignore[return-value]

    query = Query(text="red dress")
    hit = searcher.search("things", query).hits[0]
    trials = Trials(search, query)  # type: ignore[arg-type]
    trials.run([None, None])
    assert trials.rank(None, hit) == 1
    change = Change(words=(), factors=())
    assert trials.rank(change, hit) == trials.rank(change, hit) == 1
    assert asked == [1, 1]
    assert trials.count == 2


def test_the_parts_sum_where_candidates_come_from_codes(
    tmp_path: Path, encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes name candidates, scores are of the vectors themselves: no residual beyond float32's."""
    for name, value in (("EXACT_PASSAGES", 0), ("_WORTHWHILE", 0), ("_MORE", 8)):
        monkeypatch.setattr(dense, name, value)
    with_pools_of(20, monkeypatch)
    scans: list[object] = []
    named = dense.candidates
    monkeypatch.setattr(dense, "candidates", lambda *a, **o: scans.append(a) or named(*a, **o))
    with contextlib.closing(Database.open(tmp_path)) as database:
        made = create_for(encoder, database, "things")
        Pipeline(database, only(encoder), Analyzer()).add("things", documents())
        assert seal(database, made.active.id)
        searcher = Searcher(Views(database), only(encoder), Analyzer())
        for text, fusion in itertools.product(TEXTS, FUSIONS):
            for hit in searcher.search("things", steered(text, fusion=fusion, explain=Explain.WORDS, k=5)).hits:
                why = explained(hit)
                assert why.ledger.value == hit.score
                for line in lines(why.ledger):
                    if line.details:
                        assert math.fsum(d.value for d in line.details) == pytest.approx(line.value, abs=1e-6)
                    if line.kind == "residual":
                        assert abs(line.value) < 1e-6
    assert scans
