"""What models made of a query is made once: for the next page, under another filter, beside other queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.context import counted
from core.errors import ModelMismatch
from core.filters import parse_filter
from core.prompts import ControlOptions, ControlTarget, ImageItem, Prompt, TextControl
from core.protocols import Encoder
from core.records import Collection, SparseVector, TokenTrace
from embedder.densemodels import checked, only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.querycache import MAX_BYTES, Made, QueryCache
from retriever.result import SearchResult
from retriever.searcher import Searcher
from store import Database, Views
from tests.retriever.test_batch import Counting, same

WOLF = Query(text="a wolf in the summer rain", k=5)


class House:
    """A searcher that counts the prompts of each call of its model; `known`: which collections' model it has."""

    def __init__(self, database: Database, encoder: LocalEncoder) -> None:
        self.counting = Counting(encoder)
        self.fingerprint = encoder.fingerprint
        self.searcher = Searcher(Views(database), self._model, Analyzer())

    def _model(self, collection: Collection) -> Encoder:
        model: Any = self.counting
        if self.fingerprint != model.fingerprint:
            raise ModelMismatch("another model by now")
        return checked(model, collection)

    def read(self) -> list[int]:
        """Prompts of each call since this was asked last."""
        read, self.counting.batches = self.counting.batches, []
        return read


@pytest.fixture
def house(database: Database, encoder: LocalEncoder) -> House:
    return House(database, encoder)


@contextmanager
def paid() -> Iterator[list[int]]:
    tokens: list[int] = []
    with counted(tokens.append):
        yield tokens


def test_pages_filters_and_looks_at_a_query_ask_no_model_again(house: House) -> None:
    first = house.searcher.search("things", WOLF)
    assert house.read() == [1]
    assert same(house.searcher.search("things", WOLF), first)
    second = house.searcher.search("things", replace(WOLF, cursor=first.next))
    assert len({hit.id for hit in (*first.hits, *second.hits)}) == 10
    filtered = house.searcher.search("things", replace(WOLF, filter=parse_filter({"kind": "fashion"})))
    assert {hit.document_id.split("-")[0] for hit in filtered.hits} == {"fashion"}
    explained = house.searcher.search("things", replace(WOLF, explain=Explain.SCORES))
    assert [hit.id for hit in explained.hits] == [hit.id for hit in first.hits]
    assert house.read() == []


def test_whatever_the_vector_depends_on_asks_anew(house: House, database: Database, encoder: LocalEncoder) -> None:
    steered = replace(WOLF, controls=(TextControl(start=2, length=4, factor=3.0),))
    others = [
        WOLF,
        replace(WOLF, text="a wolf in the summer rain "),
        steered,
        replace(steered, controls=(TextControl(start=2, length=4, factor=4.0),)),
        replace(steered, options=ControlOptions(target=ControlTarget.POOL)),
    ]
    for query in others:
        found = house.searcher.search("things", query)
        assert house.read() == [1], query
        fresh = Searcher(Views(database), only(encoder), Analyzer()).search("things", query)
        assert same(house.searcher.search("things", query), fresh)
        assert same(found, fresh)
    assert house.read() == []
    house.searcher.search("empty", WOLF)
    assert house.read() == [1], "a collection never shows what another one was asked"
    for kind in ("fashion", "product"):
        mine = replace(WOLF, within=parse_filter({"kind": kind}))
        house.searcher.search("things", mine)
        assert house.read() == [1], "nor one row filter what another one was"
        house.searcher.search("things", mine)
        assert house.read() == []


def test_of_several_queries_only_the_new_ones_are_read(house: House) -> None:
    known, new = WOLF, [replace(WOLF, text="sun"), replace(WOLF, text="a dress")]
    alone = house.searcher.search("things", known)
    house.read()
    found = house.searcher.search_many("things", [new[0], known, new[1]])
    assert house.read() == [2]
    assert isinstance(found[1], SearchResult)
    assert same(found[1], alone)
    for query, answer in zip(new, (found[0], found[2]), strict=True):
        assert isinstance(answer, SearchResult)
        assert same(house.searcher.search("things", query), answer)


def test_a_query_explained_in_words_brings_what_its_vector_is_made_of(house: House) -> None:
    words = replace(WOLF, explain=Explain.WORDS)
    first = house.searcher.search("things", words)
    assert house.read() == [1]
    assert same(house.searcher.search("things", words), first)
    assert house.read() == []
    house.searcher.search("things", WOLF)
    assert house.read() == [1], "what is not to be explained is kept without its trace"


def test_beside_a_query_that_is_explained_a_plain_one_is_kept_without_its_trace(house: House) -> None:
    long = replace(WOLF, text="wolf " * 60)
    house.searcher.search_many("things", [replace(WOLF, explain=Explain.WORDS), long])
    assert house.read() == [2]
    assert house.searcher.kept_bytes["queries"] < 62 * 384 * 4


def test_who_pays_does_not_learn_what_was_asked_before(house: House) -> None:
    for query in (WOLF, replace(WOLF, legs=(Leg.SPARSE,))):
        with paid() as first:
            house.searcher.search("things", query)
        with paid() as again:
            house.searcher.search("things", query)
        assert sum(first) == sum(again) == (8 if query is WOLF else 0)  # six words, two special tokens


def test_a_model_that_is_another_by_now_is_refused_all_the_same(house: House) -> None:
    house.searcher.search("things", WOLF)
    house.fingerprint = "another"
    with pytest.raises(ModelMismatch, match="another model by now"):
        house.searcher.search("things", WOLF)
    assert house.searcher.search("things", replace(WOLF, legs=(Leg.SPARSE,))).hits


def test_what_is_kept_owns_its_memory_and_stays_below_its_bound(house: House) -> None:
    batch = np.ones((1000, 384), dtype=np.float32)
    ids, weights = np.arange(1000, dtype=np.int32), np.ones(1000, dtype=np.float32)
    recent = QueryCache(max_bytes=160_000)
    for number in range(100):
        learned = SparseVector(ids=ids[:20], weights=weights[:20])
        made = Made(vector=batch[number], learned=learned, trace=None, truncated=False, tokens=5)
        recent.put(str(number).encode(), made)
        assert recent.kept_bytes <= 160_000
    assert recent.get(b"0") is None
    kept = recent.get(b"99")
    assert kept is not None
    assert kept.vector is not None
    assert kept.learned is not None
    assert all(array.base is None for array in (kept.vector, kept.learned.ids, kept.learned.weights))
    assert recent.kept_bytes > 384 * 4 * 10
    spans, special = np.zeros((3, 2), dtype=np.int64), np.zeros(3, dtype=np.bool_)
    trace = TokenTrace(spans=spans, special=special, vectors=batch[:3], weights=np.ones(9)[:3])
    recent.put(b"trace", replace(made, trace=trace))
    kept = recent.get(b"trace")
    assert kept is not None
    assert kept.trace is not None
    assert kept.trace.vectors.base is kept.trace.weights.base is None
    recent.put(b"long", replace(made, trace=replace(trace, vectors=batch[:10])))
    assert recent.get(b"long") is None, "more than a sixteenth of the room"
    house.searcher.search("things", replace(WOLF, explain=Explain.WORDS))
    assert 8 * 384 * 4 < house.searcher.kept_bytes["queries"] < MAX_BYTES


def test_images_are_told_apart_by_their_bytes() -> None:
    recent = QueryCache()
    prompts = [Prompt(items=(ImageItem(data=data),)) for data in (b"one" * 10_000, b"two" * 10_000)]
    prompts += [Prompt(items=(*prompts[0].items, *Prompt.of("wolf").items)), Prompt.of("wolf")]
    keys = {recent.key((1, None), prompt, None, ControlOptions(), traced=False) for prompt in prompts}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}
    again = recent.key((1, None), replace(prompts[0]), None, ControlOptions(), traced=False)
    assert again in keys
