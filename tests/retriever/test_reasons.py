"""Sentences and other methods: each number against a slow way to it, each promise tried out."""

import contextlib
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidControl, InvalidQuery
from core.passages import passage_prompt
from core.prompts import Prompt, TextControl
from core.records import Representation
from embedder.densemodels import only
from embedder.explaining.request import Granularity
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever.fusion import Fusion
from retriever.inputs import Inputs, sparse_input
from retriever.legs import Leg
from retriever.query import MAX_EXPLAINED, Explain, Query
from retriever.searcher import Searcher
from retriever.selection import GroupBy, Selection
from retriever.unit_request import UnitMethod, UnitRequest
from store import Database, Views, dense
from store.segments.sealing import seal
from tests.collections import create_for
from tests.retriever.conftest import FUSIONS, documents, explained, lines, steered
from tests.retriever.pools import with_pools_of

TEXTS = ["All about fashion and movies on television", "I want to play^7 on my TV.", "red dress for a summer wedding"]


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
        rest = {line.description for line in lines(why.ledger) if line.kind == "context"}
        assert rest <= {"special tokens, the model's prefix (if any) and punctuation"}
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


def test_no_answer_has_more_shares_than_it_can_hold() -> None:
    text = "wolf " * 1000
    most = MAX_EXPLAINED // 1000
    Query(text=text, k=most, explain=Explain.WORDS)
    Query(text=text, k=most + 1, explain=Explain.SCORES)
    with pytest.raises(InvalidQuery, match=f"{most + 1} hits"):
        Query(text=text, k=most + 1, explain=Explain.WORDS)
    grouped = Selection(group_by=GroupBy(field="kind", hits=50))
    with pytest.raises(InvalidQuery, match=f"{most} hits"):
        Query(text=text + "rain", k=most // 50, selection=grouped, explain=Explain.WORDS)
    weights = Inputs(sparse_vector=sparse_input(dict.fromkeys(range(1000), 1.0)))
    Query(inputs=weights, k=most, explain=Explain.WORDS)
    with pytest.raises(InvalidQuery, match=f"{most + 1} hits.* 0 words and 1000 weights"):
        Query(inputs=weights, k=most + 1, explain=Explain.WORDS)
    with pytest.raises(InvalidQuery, match="1 words and 1000 weights"):
        Query(text="wolf", inputs=weights, k=most, explain=Explain.WORDS)


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
