"""Searches whose time runs out: what is left, and what is said of it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidQuery, ModelError
from core.filters import parse_filter
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.extras import Extras
from retriever.inputs import Inputs, dense_input
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.searcher import Searcher
from retriever.timelimit import TimeLimit
from store import Database, Views
from tests.retriever.pools import with_pools_of

ROOT = Path(__file__).resolve().parents[2]
DENSE, SPARSE = (Leg.DENSE,), (Leg.SPARSE,)
QUERY = Query(text="red dress for a summer wedding", k=20)
WITH_VECTOR = replace(QUERY, inputs=Inputs(vector=dense_input([1.0] * 384)))  # waits for no model


class Halting:
    """The real encoder, which gives no answer before it is let go."""

    def __init__(self, encoder: LocalEncoder) -> None:
        self._encoder = encoder
        self.go = threading.Event()

    def encode(self, *arguments: Any, **options: Any) -> Any:
        assert self.go.wait(20)
        return self._encoder.encode(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


@pytest.fixture
def halting(encoder: LocalEncoder) -> Iterator[Halting]:
    found = Halting(encoder)
    yield found
    found.go.set()


def test_where_the_model_does_not_answer_the_words_do(database: Database, searcher: Searcher, halting: Halting) -> None:
    slow = Searcher(Views(database), only(halting), Analyzer())  # type: ignore[arg-type]
    start = time.perf_counter()
    found = slow.search("things", replace(QUERY, timeout_ms=150))
    assert 0.14 < time.perf_counter() - start < 15
    alone = searcher.search("things", replace(QUERY, legs=SPARSE))
    assert found.timed_out
    assert found.left_out[0] == "dense"
    assert found.legs == SPARSE
    assert [(hit.id, hit.score) for hit in found.hits] == [(hit.id, hit.score) for hit in alone.hits]
    assert found.next is None
    nothing = slow.search("things", replace(QUERY, legs=DENSE, timeout_ms=50))
    assert (nothing.hits, nothing.left_out, nothing.legs) == ((), ("dense",), ())
    halting.go.set()
    in_time = slow.search("things", replace(QUERY, timeout_ms=60_000))
    assert not in_time.timed_out
    assert in_time.hits == searcher.search("things", QUERY).hits


def test_a_vector_needs_no_model(database: Database, halting: Halting) -> None:
    slow = Searcher(Views(database), only(halting), Analyzer())  # type: ignore[arg-type]
    query = Query(text="red dress", inputs=Inputs(vector=dense_input([1.0] * 384)), timeout_ms=60_000)
    assert slow.search("things", query).legs == (Leg.DENSE, Leg.SPARSE)


@pytest.mark.parametrize("legs", [None, DENSE, SPARSE])
@pytest.mark.parametrize("explain", [Explain.NONE, Explain.WORDS])
def test_one_millisecond_gives_a_marked_answer(
    searcher: Searcher, legs: tuple[Leg, ...] | None, explain: Explain
) -> None:
    query = replace(QUERY, legs=legs, explain=explain, timeout_ms=1, filter=parse_filter({"kind": "fashion"}))
    found = searcher.search("things", query)
    assert set(found.left_out) <= {"dense", "sparse", "hits", "explain"}
    assert all(hit.metadata["kind"] == "fashion" for hit in found.hits)
    assert Leg.DENSE not in found.legs or "dense" not in found.left_out
    assert found.timed_out == bool(found.left_out)
    if explain is Explain.WORDS and Leg.DENSE in (legs or DENSE):  # reading the query alone takes longer
        assert found.timed_out
    if not found.timed_out:  # the model was done just when it was looked for
        assert found.hits == searcher.search("things", replace(query, timeout_ms=None)).hits


def test_no_leg_is_begun_once_the_time_is_over(
    searcher: Searcher, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first leg takes all of it: the second is left out, and so are the reasons."""
    from store.view import View

    nearest = View.nearest

    def lingering(self: View, *arguments: Any) -> Any:
        time.sleep(1.1)
        return nearest(self, *arguments)

    monkeypatch.setattr(View, "nearest", lingering)
    found = searcher.search("things", replace(WITH_VECTOR, timeout_ms=1000, explain=Explain.SCORES))
    assert found.left_out == ("sparse", "explain")
    assert found.legs == DENSE
    wanted = searcher.search("things", replace(WITH_VECTOR, legs=DENSE)).hits
    assert found.hits == wanted
    assert all(hit.explanation is None for hit in found.hits)


def test_pools_are_not_deepened_once_the_time_is_over(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    from store.view import View

    with_pools_of(2, monkeypatch)
    matching = View.matching

    def lingering(self: View, *arguments: Any) -> Any:
        time.sleep(1.1)
        return matching(self, *arguments)

    monkeypatch.setattr(View, "matching", lingering)
    found = searcher.search("things", replace(WITH_VECTOR, timeout_ms=1000))
    assert found.left_out == ("hits",)
    assert 1 <= len(found.hits) <= 4
    assert found.next is None


def test_what_stands_beside_the_hits_is_never_left_out_in_silence(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hits are complete, so that the next page can be asked for."""
    from store.view import View

    fetch = View.fetch

    def lingering(self: View, *arguments: Any) -> Any:
        time.sleep(1.1)
        return fetch(self, *arguments)

    query = replace(WITH_VECTOR, extras=Extras(suggest=True, facets=("kind",)))
    calm = searcher.search("things", query)
    monkeypatch.setattr(View, "fetch", lingering)
    found = searcher.search("things", replace(query, timeout_ms=1000))
    assert found.left_out == ("facets", "suggestions")
    assert (found.facets, found.suggestions) == (None, ())
    assert (found.hits, found.next) == (calm.hits, calm.next)
    assert found.next is not None


@pytest.mark.parametrize("timeout_ms", [0, -1, 600_001])
def test_a_timeout_has_a_range(timeout_ms: int) -> None:
    with pytest.raises(InvalidQuery, match="1 to 600000"):
        replace(QUERY, timeout_ms=timeout_ms)


def test_calls_in_time_give_what_they_give() -> None:
    in_time = TimeLimit()
    assert in_time.call(lambda: 7, None) == in_time.call(lambda: 7, 5.0) == 7

    def failing() -> int:
        raise ModelError("broken")

    for seconds in (None, 5.0):
        with pytest.raises(ModelError, match="broken"):
            in_time.call(failing, seconds)
    begun: list[int] = []
    with pytest.raises(TimeoutError):
        in_time.call(lambda: begun.append(1), 0.0)
    assert not begun


def test_a_process_ends_without_waiting_for_a_call_that_was_given_up() -> None:
    code = """
import time
from retriever.timelimit import TimeLimit
try:
    TimeLimit().call(lambda: time.sleep(60), 0.1)
except TimeoutError:
    print("given up")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30, cwd=ROOT
    )
    assert done.stdout == "given up\n"


def test_a_process_ends_well_while_a_model_computes_for_nobody() -> None:
    """It had been aborted by C++, whose thread was taken away from it within torch."""
    code = """
import torch
from core.context import check_awaited
from retriever.timelimit import TimeLimit
def compute():
    values = torch.ones(2000, 2000)
    while True:
        check_awaited()
        values = (values @ values).softmax(-1)
try:
    TimeLimit().call(compute, 0.5)
except TimeoutError:
    print("given up")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "given up\n"), done.stderr


def test_calls_beyond_the_threads_wait_for_a_place_and_are_given_up_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retriever.timelimit._THREADS", 1)
    in_time, released, begun = TimeLimit(), threading.Event(), list[int]()
    with pytest.raises(TimeoutError):
        in_time.call(released.wait, 0.05)
    with pytest.raises(TimeoutError):
        in_time.call(lambda: begun.append(1), 0.05)
    released.set()
    assert in_time.call(lambda: 7, 30.0) == 7
    assert not begun
