"""Traces are remembered by what they depend on, and take no more room than they may."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.filters import parse_filter
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.records import Representation
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.lrucache import LruCache
from retriever.query import Explain, Query
from retriever.searcher import Searcher
from retriever.tracecache import TraceCache
from store import Database, Views

ALL = (1, None)  # the audience: who sees all documents of generation 1


@given(
    sizes=st.lists(st.integers(1, 40), max_size=30),
    asked=st.lists(st.integers(0, 9), max_size=30),
    room=st.integers(1, 100),
)
def test_the_room_is_never_exceeded_and_the_newest_stay(sizes: list[int], asked: list[int], room: int) -> None:
    recent: LruCache[int, bytes] = LruCache(room, len)
    kept: dict[int, bytes] = {}  # in the order of their last use
    for step, size in enumerate(sizes):
        key = step % 10
        recent.put(key, bytes(size))
        if size <= room:
            kept.pop(key, None)
            kept[key] = bytes(size)
            while sum(map(len, kept.values())) > room:
                del kept[next(iter(kept))]
        for other in asked[step : step + 1]:
            assert recent.get([other]) == [kept.get(other)]
            if other in kept:
                kept[other] = kept.pop(other)
        assert recent.bytes == sum(map(len, kept.values())) <= room


def test_only_what_is_new_is_read(encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    trace = encoder.trace

    def counted(prompts: list[Prompt], *args: object, **options: object) -> object:
        read.append(len(prompts))
        return trace(prompts, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(encoder, "trace", counted)
    traces, prompts = TraceCache(), [Prompt.of("a wolf"), Prompt.of("some rain"), Prompt.of("sun")]
    first = traces.dense(encoder, prompts[:2], Representation.DOCUMENT, ALL)
    again = traces.dense(encoder, [prompts[2], prompts[0]], Representation.DOCUMENT, ALL)
    assert first is not None
    assert again is not None
    assert again[1] is first[0]
    assert read == [2, 1]
    steered = Prompt.of("a wolf", (TextControl(start=2, length=4, factor=3),))
    for prompt, representation, target in (
        (steered, Representation.DOCUMENT, ControlTarget.AUTO),
        (steered, Representation.DOCUMENT, ControlTarget.POOL),
        (steered, Representation.QUERY, ControlTarget.POOL),
    ):
        options = ControlOptions(target=target)
        found = traces.dense(encoder, [prompt], representation, ALL, options=options)
        expected = trace([prompt], representation, options=options)
        assert found is not None
        assert expected is not None
        assert np.allclose(found[0].vectors, expected[0].vectors, atol=1e-5)
        assert found[0].weights == pytest.approx(expected[0].weights)
    assert read == [2, 1, 1, 1, 1]
    for audience in ((2, None), (1, parse_filter({"kind": "red"}))):
        traces.dense(encoder, [prompts[0]], Representation.DOCUMENT, audience)
    assert read == [2, 1, 1, 1, 1, 1, 1], "nobody else learns what they asked for"


def test_without_room_every_question_is_answered_all_the_same(encoder: LocalEncoder) -> None:
    traces = TraceCache(max_bytes=0)
    for _ in range(2):
        assert traces.dense(encoder, [Prompt.of("wolf")], Representation.QUERY, ALL) is not None


def test_the_same_explanation_again_reads_nothing(
    searcher: Searcher, encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Query(text="a wolf in the summer rain", k=10, explain=Explain.WORDS)
    first = searcher.search("things", query).hits

    def refused(*args: object, **options: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(encoder, "trace", refused)
    assert searcher.search("things", query).hits == first
    assert searcher.search("things", replace(query, k=5, offset=3)).hits == first[3:8]


def test_an_explained_search_reads_its_query_once_and_each_passage_once(
    database: Database, encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher = Searcher(Views(database), only(encoder), Analyzer())  # that remembers nothing
    backbone, read = encoder._forward.backbone, []
    hidden = backbone.hidden

    def counted(ids: list[object], *rest: object) -> object:
        read.append(len(ids))
        return hidden(ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(backbone, "hidden", counted)
    plain = searcher.search("things", Query(text="a red dress", k=5))
    assert read == [1]
    explained = searcher.search("things", Query(text="a red dress", k=5, explain=Explain.WORDS))
    assert read[:2] == [1, 1]
    assert sum(read[2:]) == 5
    assert [(hit.id, hit.score) for hit in explained.hits] == [(hit.id, hit.score) for hit in plain.hits]
