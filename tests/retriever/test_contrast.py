"""Contrasts and advice: each number against a slow way to it, each promise tried out."""

import contextlib
import itertools
import math
from dataclasses import replace

import pytest

from core.errors import DocumentNotFound, HitNotFound, InvalidQuery
from core.prompts import Prompt, TextControl, TextItem, TokenIdsItem, TokenOverlap
from core.records import Representation
from embedder.factors import character_factors
from embedder.lexical.words import units
from embedder.local import LocalEncoder
from retriever.contrast import contrast_pair, contrasted, difference
from retriever.fusion import Fusion
from retriever.inputs import Inputs, text_of
from retriever.legs import Leg
from retriever.query import MAX_TRIED_WORDS, Explain, Query, steer
from retriever.reasons import explain_hit
from retriever.searcher import Searcher
from retriever.selection import Selection
from retriever.stopwatch import Stopwatch
from retriever.trials import DEPTH, MARGIN, SHOWN, Change, Trials, changes, opposed_words, words_to_try
from tests.retriever.conftest import FUSIONS, explained, lines, steered


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
    found = contrasted(lambda queries: searcher.search_many("things", queries), query, hits, 0, over)
    for upper, lower in itertools.pairwise(found):
        contrast = explained(upper).contrast
        assert contrast is not None
        assert (contrast.swap, contrast.tried) == (None, 0)
        assert contrast.ledger.value == pytest.approx(upper.score - lower.score)
    late = searcher.search("things", replace(query, explain=Explain.CONTRAST, timeout_ms=100_000))
    assert late.left_out == ()


def test_a_page_behind_a_cursor_is_contrasted_as_the_one_of_that_offset(searcher: Searcher) -> None:
    """Its hits are looked for where they rank, however far behind."""
    query = Query(text="red dress for a summer wedding", legs=(Leg.DENSE,), k=40)
    cursor = searcher.search("things", query).next
    page = replace(query, k=3, explain=Explain.CONTRAST)
    behind, skipped = (
        searcher.search("things", replace(page, **where)).hits for where in ({"cursor": cursor}, {"offset": 40})
    )
    swaps = [contrast.swap for hit in behind if (contrast := explained(hit).contrast) is not None]
    assert [None if swap is None else swap.rank_before for swap in swaps] == [42, 43]
    assert [explained(hit).contrast for hit in behind] == [explained(hit).contrast for hit in skipped]


def test_hits_in_another_order_are_looked_for_behind_the_page(searcher: Searcher) -> None:
    query = Query(text="red dress for a summer wedding", selection=Selection(diversity=0.5), k=8)
    hits = searcher.search("things", replace(query, explain=Explain.CONTRAST)).hits
    ranked = [hit.id for hit in searcher.search("things", replace(query, selection=Selection(), k=1000)).hits]
    seen = 0
    for upper, lower in itertools.pairwise(hits):
        contrast, place = explained(upper).contrast, ranked.index(lower.id) + 1
        assert contrast is not None
        if contrast.swap is not None:
            assert contrast.swap.rank_before == (place if place <= DEPTH else None)
            seen += len(hits) + MARGIN < place <= DEPTH
    assert seen


def test_when_the_time_is_over_nothing_more_is_tried_for_one_hit(searcher: Searcher) -> None:
    query = Query(text="red dress for a summer wedding")
    upper, *_, lower = searcher.search("things", replace(query, k=9)).hits
    hurried = explain_hit(searcher, "things", replace(query, timeout_ms=1), lower.id, above=None, advise=True)
    assert (hurried.left_out, explained(hurried.hits[0]).advice) == (("advice",), ())
    pair = explain_hit(searcher, "things", replace(query, timeout_ms=1), upper.id, above=lower.id)
    contrast = explained(pair.hits[0]).contrast
    assert contrast is not None
    assert (pair.left_out, contrast.swap, contrast.tried) == (("contrast",), None, 0)
    assert contrast.ledger == difference(*pair.hits)
    unhurried = explain_hit(searcher, "things", replace(query, timeout_ms=600_000), lower.id, advise=True)
    assert unhurried.left_out == ()
    assert explained(unhurried.hits[0]).advice


def test_a_query_of_too_many_words_is_not_searched_with_again_and_again(searcher: Searcher) -> None:
    longest = Query(text="wolf " * MAX_TRIED_WORDS)
    longer = replace(longest, text=longest.text + "rain")
    replace(longest, explain=Explain.CONTRAST)
    hit, other = searcher.search("things", replace(longer, k=2)).hits
    with pytest.raises(InvalidQuery, match="2001 words"):
        replace(longer, explain=Explain.CONTRAST)
    for wish in ({"above": other.id}, {"advise": True}):
        with pytest.raises(InvalidQuery, match="2001 words"):
            explain_hit(searcher, "things", longer, hit.id, **wish)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("narrow", [False, True], ids=["page", "pair"])
def test_a_hit_that_is_swapped_falls_only_where_it_falls_by_all_changes(searcher: Searcher, narrow: bool) -> None:
    def fallen(before: int | None, after: int | None) -> bool:
        return (before or math.inf) < (after or math.inf)

    depth, fell = DEPTH if narrow else 9 + MARGIN, 0
    for text in ("a story of war in the summer", "I want to play games on my TV", "red dress for a summer wedding"):
        query = Query(text=text, k=9)
        hits = searcher.search("things", replace(query, explain=Explain.WORDS)).hits
        asked = replace(query, explain=Explain.CONTRAST)
        page = [explained(hit) for hit in searcher.search("things", asked).hits]
        trials = Trials(lambda queries: searcher.search_many("things", queries), query, depth=depth)
        for (upper, lower), told in zip(itertools.pairwise(hits), page, strict=False):
            if narrow:
                told = explained(explain_hit(searcher, "things", query, upper.id, above=lower.id).hits[0])
            assert told.contrast is not None
            if (swap := told.contrast.swap) is None:
                continue
            assert (swap.rank_before, swap.upper_rank_before) == (hits.index(lower) + 1, hits.index(upper) + 1)
            changed = replace(query, controls=swap.controls, k=depth)
            ranks = {hit.document_id: i for i, hit in enumerate(searcher.search("things", changed).hits, start=1)}
            assert (swap.rank_after, swap.upper_rank_after) == (ranks[lower.document_id], ranks.get(upper.document_id))
            if fallen(swap.rank_before, swap.rank_after):
                assert fallen(swap.upper_rank_before, swap.upper_rank_after)
                fell += 1
                words = words_to_try(query, [upper, lower] if narrow else hits)
                for change in itertools.chain(*changes(words, opposed_words(query, upper, lower) if narrow else ())):
                    above, below = trials.rank(change, lower), trials.rank(change, upper)
                    if above is not None and above < (below or math.inf):
                        assert fallen(trials.rank(None, lower), above), change
    assert fell


def test_what_stands_above_already_is_not_swapped(searcher: Searcher) -> None:
    """A passage that another one of its document hides has a lower score than hits that stand below the document."""
    query = Query(text="a red dress, a story of war, a recipe")
    hits = searcher.search("things", replace(query, k=100)).hits
    held = 0
    for place, shown in enumerate(hits):
        for id_ in (shown.id - 1, shown.id + 1) if shown.document_id.endswith("-long") else ():
            with contextlib.suppress(HitNotFound):
                [hidden] = searcher.explain("things", query, id_).hits
                upper = next((hit for hit in hits[place + 1 :] if hit.score > hidden.score), None)
                if hidden.document_id == shown.document_id and upper is not None:
                    contrast = explained(explain_hit(searcher, "things", query, upper.id, above=id_).hits[0]).contrast
                    assert contrast is not None
                    assert (contrast.swap, contrast.tried) == (None, 1)
                    held += 1
    assert held


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


def test_nothing_is_tried_with_a_prompt_of_items(searcher: Searcher) -> None:
    """Its controls stand with its items: a change of the query's would be of a text that nobody sent."""
    prompt = Prompt(items=(TextItem(text="red dress for a summer wedding"), TokenIdsItem(ids=(2003, 3000))))
    text, controls = text_of(prompt)
    query = Query(text=text, controls=controls, inputs=Inputs(prompt=prompt), k=5, explain=Explain.CONTRAST)
    hits = searcher.search("things", query).hits
    for upper, lower in itertools.pairwise(hits):
        contrast = explained(upper).contrast
        assert contrast is not None
        assert (contrast.swap, contrast.tried) == (None, 0)
        assert contrast.ledger.value == pytest.approx(upper.score - lower.score, abs=1e-12)
    for lower in hits[1:]:
        assert explained(explain_hit(searcher, "things", query, lower.id, advise=True).hits[0]).advice == ()
    [upper, _] = explain_hit(searcher, "things", query, hits[0].id, above=hits[1].id).hits
    contrast = explained(upper).contrast
    assert contrast is not None
    assert contrast.swap is None


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
    with pytest.raises(InvalidQuery, match="another hit"):
        explain_hit(searcher, "things", query, first.id, above=first.document_id)
    with pytest.raises(HitNotFound) as missing:
        explain_hit(searcher, "things", query, first.id, above=10**9)
    assert missing.value.param == "above"
    with pytest.raises(DocumentNotFound, match="above: there is no document 'nobody'") as nobody:
        explain_hit(searcher, "things", query, first.id, above="nobody")
    assert nobody.value.param == "above"


def test_two_documents_are_contrasted_by_their_ids(searcher: Searcher) -> None:
    query = Query(text="gaming console")
    first, second = searcher.search("things", replace(query, k=2)).hits
    named = explain_hit(searcher, "things", query, first.document_id, above=second.document_id)
    assert named.hits == explain_hit(searcher, "things", query, first.id, above=second.id).hits


def test_hits_of_one_score_are_told_apart_by_their_numbers(searcher: Searcher) -> None:
    hits = searcher.search("things", Query(text="gaming console", k=2)).hits
    upper, lower = (replace(hit, id=id_, score=0.0) for hit, id_ in zip(hits, (7, 9), strict=True))
    watch = Stopwatch(timeout_ms=None)
    with pytest.raises(InvalidQuery, match="hits 9 and 7 have the same score, and the lower number stands first"):
        contrast_pair(lambda _: [], Query(text="gaming console"), lower, upper, watch)


def test_a_change_that_the_query_cannot_take_ranks_nothing(searcher: Searcher) -> None:
    """A factor of 1000 cannot be raised further; neither can one more than the limit of controls be added."""
    query = Query(text="wolf rain", controls=(TextControl(start=0, length=4, factor=1000),))
    hit = searcher.search("things", query).hits[0]
    answer = explain_hit(searcher, "things", query, hit.id, advise=True)
    assert all(control.factor <= 1000 for one in explained(answer.hits[0]).advice for control in one.controls)


@pytest.mark.parametrize(
    ("typed", "word", "expected"),
    [
        ('"boundary layer"^2 flow', "boundary", "boundary^0.4 layer^2 flow"),
        ('"boundary layer"^2 flow', "layer", "boundary^2 layer^0.4 flow"),
        ('the "thin boundary layer flow"^2', "boundary", 'the thin^2 boundary^0.4 "layer flow"^2'),
        ('a "don\'t-play,  games"^0.5', "play", 'a "don\'t-"^0.5"play"^0.1",  games"^0.5'),
        ("(C++^7 books", "C", '("C"^1.4"++"^7 books'),
        ('"公司"^2', "公", '公^0.4"司"^2'),
        ("boundary^2 layer", "boundary", "boundary^0.4 layer"),
    ],
)
def test_a_boost_on_more_than_the_word_is_divided(searcher: Searcher, typed: str, word: str, expected: str) -> None:
    query = steered(typed)
    [hit] = searcher.search("things", Query(text="wolf", k=1)).hits
    trials = Trials(lambda queries: searcher.search_many("things", queries), query)
    [unit] = [unit for unit in units(query.text) if query.text[unit.start : unit.end] == word]
    told = trials.steering(Change(words=(unit,), factors=(0.2,)), hit)
    assert told.query is not None
    assert told.query == expected
    text, controls = steer(told.query)
    assert (text, controls) == (query.text, told.controls)
    field = character_factors(text, query.controls)
    field[unit.start : unit.end] *= 0.2
    seen = [place for place, character in enumerate(text) if not character.isspace()]
    assert character_factors(text, controls)[seen] == pytest.approx(field[seen])


def test_a_control_of_complete_overlap_is_left_whole(searcher: Searcher) -> None:
    control = TextControl(start=0, length=14, factor=2, token_overlap=TokenOverlap.COMPLETE)
    query = Query(text="boundary layer flow", controls=(control,))
    [hit] = searcher.search("things", Query(text="wolf", k=1)).hits
    trials = Trials(lambda queries: searcher.search_many("things", queries), query)
    told = trials.steering(Change(words=(next(units(query.text)),), factors=(0.2,)), hit)
    assert (told.query, told.controls) == (None, (control, TextControl(start=0, length=8, factor=0.2)))


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
