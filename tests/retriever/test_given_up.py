"""Work whose caller has left ends at its next step."""

from __future__ import annotations

import threading

import pytest

from core.context import Awaited, awaited, check_awaited, current_answer
from core.errors import Abandoned
from embedder.local import LocalEncoder
from retriever.query import Query
from retriever.searcher import Searcher
from retriever.stopwatch import Stopwatch
from retriever.timelimit import TimeLimit


def test_no_stage_begins_for_nobody() -> None:
    watch, answer = Stopwatch(), Awaited()
    with awaited(answer):
        with watch.stage("dense"):
            answer.give_up()  # what has begun is finished
        with pytest.raises(Abandoned), watch.stage("sparse"):
            raise AssertionError
    assert list(watch.milliseconds) == ["dense"]
    assert [span.stage for span in watch.spans] == ["dense"]


def test_spans_and_milliseconds_say_the_same() -> None:
    watch = Stopwatch()
    for name in ("rank", "dense", "rank"):
        with watch.without_hurry().stage(name):
            pass
    assert [span.stage for span in watch.spans] == ["rank", "dense", "rank"]
    for name, milliseconds in watch.milliseconds.items():
        spans = [span for span in watch.spans if span.stage == name]
        assert sum(span.ended - span.begun for span in spans) * 1000 == pytest.approx(milliseconds)


def test_a_call_that_nobody_waits_for_any_more_is_told() -> None:
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []

    def work() -> None:
        begun.set()
        assert go.wait(20)
        answer = current_answer()
        assert answer is not None
        seen.append(answer.over)
        ended.set()

    whole = Awaited()
    with awaited(whole):
        with pytest.raises(TimeoutError):
            TimeLimit().call(work, 0.05)
        check_awaited()  # the request goes on without it
    assert begun.wait(20)
    go.set()
    assert ended.wait(20)
    assert seen == [True]


def test_a_search_of_somebody_who_left_reads_nothing(searcher: Searcher, encoder: LocalEncoder) -> None:
    answer = Awaited()
    answer.give_up()
    with awaited(answer), pytest.raises(Abandoned):
        searcher.search("things", Query(text="red dress"))
