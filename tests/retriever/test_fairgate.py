"""Who has the floor, and for how long alone."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from retriever import encoding
from retriever import fairgate as module
from retriever.fairgate import FairGate
from retriever.legs import Leg
from retriever.query import Query
from retriever.querycache import Made
from retriever.searcher import Searcher
from tests.waiting import until

LONG = 30.0  # seconds that a loaded machine may take


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", LONG)


@pytest.mark.usefixtures("patient")
def test_one_at_a_time_and_first_come_first_served() -> None:
    fairgate, at_once, most, came = FairGate(), 0, 0, list[int]()
    waiting = threading.Semaphore(0)

    def speak(number: int) -> None:
        nonlocal at_once, most
        waiting.release()
        with fairgate.entered():
            at_once += 1
            most = max(most, at_once)
            came.append(number)
            time.sleep(0.002)
            at_once -= 1

    with fairgate.entered():
        threads = []
        for number in range(8):
            threads.append(threading.Thread(target=speak, args=(number,)))
            threads[-1].start()
            assert waiting.acquire(timeout=LONG)
            until(lambda: len(fairgate._queue) == len(threads))
        assert came == []
    for thread in threads:
        thread.join(LONG)
    assert came == list(range(8))
    assert most == 1


def test_who_takes_long_shares_the_floor() -> None:
    fairgate, others = FairGate(), list[float]()

    def speak() -> None:
        with fairgate.entered():
            others.append(time.monotonic())

    threads = [threading.Thread(target=speak) for _ in range(5)]
    begun = time.monotonic()
    with fairgate.entered():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert len(others) == 5, "they waited for the end of somebody who takes long"
    assert min(others) - begun >= module.PATIENCE_SECONDS / 2


@pytest.mark.usefixtures("patient")
def test_the_floor_is_free_after_an_error() -> None:
    fairgate = FairGate()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), fairgate.entered():
            raise ZeroDivisionError
    done = threading.Event()

    def speak() -> None:
        with fairgate.entered():
            done.set()

    threading.Thread(target=speak, daemon=True).start()
    assert done.wait(LONG / 2)


def test_who_shared_it_does_not_free_it_for_a_third() -> None:
    """The first, who took long, ends while the second is still new: the third waits for the second."""
    fairgate = FairGate()
    first_may_end, second_speaks, second_may_end, third_speaks = (threading.Event() for _ in range(4))

    def second() -> None:
        with fairgate.entered():
            second_speaks.set()
            second_may_end.wait(LONG)

    def third() -> None:
        with fairgate.entered():
            third_speaks.set()

    def first() -> None:
        with fairgate.entered():
            first_may_end.wait(LONG)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    until(lambda: fairgate._newest is not None)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    assert second_speaks.wait(LONG)
    fairgate._free_from = time.monotonic() + LONG  # so that only an end can free it
    threads.append(threading.Thread(target=third))
    threads[2].start()
    until(lambda: len(fairgate._queue) == 1)
    first_may_end.set()
    threads[0].join(LONG)
    assert not third_speaks.wait(0.2)
    second_may_end.set()
    assert third_speaks.wait(LONG)
    for thread in threads[1:]:
        thread.join(LONG)


@pytest.mark.usefixtures("patient")
def test_who_prepares_a_turn_waits_for_the_line_and_not_for_the_floor() -> None:
    fairgate, prepared, may_end = FairGate(), list[str](), threading.Event()
    fairgate.wait_for_queue()  # there is none

    def speak() -> None:
        with fairgate.entered():
            may_end.wait(LONG)

    def prepare(name: str) -> None:
        fairgate.wait_for_queue()
        prepared.append(name)

    with fairgate.entered():
        fairgate.wait_for_queue()  # somebody has the floor, and nobody waits
        speaking = threading.Thread(target=speak)
        speaking.start()
        until(lambda: len(fairgate._queue) == 1)
        preparing = [threading.Thread(target=prepare, args=(name,)) for name in ("a", "b")]
        for thread in preparing:
            thread.start()
        until(lambda: len(fairgate._queue[0].behind) == 2)
        assert prepared == []
    for thread in preparing:
        thread.join(LONG)
    assert sorted(prepared) == ["a", "b"], "they waited for the floor, too"
    may_end.set()
    speaking.join(LONG)


@pytest.mark.usefixtures("patient")
def test_nobody_waits_for_ever_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come: whoever does not prepare anything goes straight into line."""
    monkeypatch.setattr(module, "GATHERING_SECONDS", 0.0)
    fairgate, prepared = FairGate(), threading.Event()
    ends = [threading.Event() for _ in range(2)]

    def speak(number: int) -> None:
        with fairgate.entered():
            ends[number].wait(LONG)

    def prepare() -> None:
        fairgate.wait_for_queue()
        prepared.set()

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(2)]
    with fairgate.entered():
        threads[0].start()
        until(lambda: len(fairgate._queue) == 1)
        threads.append(threading.Thread(target=prepare))
        threads[2].start()
        until(lambda: len(fairgate._queue[0].behind) == 1)
        threads[1].start()
        until(lambda: len(fairgate._queue) == 2)
    assert prepared.wait(LONG), "it waits for somebody who came behind it"
    assert len(fairgate._queue) == 1
    for end in ends:
        end.set()
    for thread in threads:
        thread.join(LONG)


@pytest.mark.usefixtures("patient")
def test_who_gives_up_its_place_in_line_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fairgate, prepared, leaves = FairGate(), threading.Event(), threading.Event()

    class Interrupted(Exception):
        pass

    class Interrupting:
        def acquire(self, timeout: float) -> bool:
            assert leaves.wait(timeout)
            raise Interrupted

        def release(self) -> None:
            raise AssertionError("it has begun")

    def leave() -> None:
        turn = module._Turn
        with monkeypatch.context() as patch:
            patch.setattr(module, "_Turn", lambda: _interrupted(turn(), Interrupting()))
            with pytest.raises(Interrupted), fairgate.entered():
                raise AssertionError("it has begun")

    def prepare() -> None:
        fairgate.wait_for_queue()
        prepared.set()

    with fairgate.entered():
        leaving = threading.Thread(target=leave)
        leaving.start()
        until(lambda: len(fairgate._queue) == 1)
        preparing = threading.Thread(target=prepare)
        preparing.start()
        until(lambda: len(fairgate._queue[0].behind) == 1)
        leaves.set()
        assert prepared.wait(LONG)
    for thread in (leaving, preparing):
        thread.join(LONG)


def _interrupted(turn: module._Turn, begun: Any) -> module._Turn:
    turn.begun = begun
    return turn


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("query", "waits"),
    [
        # Queries that no other test asks: what a model made of one is remembered.
        (Query(text="a wolf that waits in line"), True),
        (Query(text="a wolf with plenty of time", timeout_ms=600_000), True),
        (Query(text="a wolf in a hurry", timeout_ms=900), False),  # what cannot be done by then would be left out
        (Query(text="a wolf by name alone", legs=(Leg.SPARSE,)), False),  # asks no model
    ],
)
def test_a_model_is_asked_when_the_line_is_through(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch, query: Query, waits: bool
) -> None:
    fairgate, asked, answered = searcher._gate, threading.Event(), threading.Event()
    made = encoding._made

    def noted(*given: Any) -> list[Made]:
        asked.set()
        return made(*given)

    def search() -> None:
        found = searcher.search("things", query)
        assert found.hits or not waits
        answered.set()

    def speak() -> None:
        with fairgate.entered():
            pass

    monkeypatch.setattr(encoding, "_made", noted)
    threads = [threading.Thread(target=speak), threading.Thread(target=search)]
    with fairgate.entered():
        threads[0].start()
        until(lambda: len(fairgate._queue) == 1)
        threads[1].start()
        if waits:
            until(lambda: len(fairgate._queue[0].behind) == 1)
            assert not asked.wait(0.1)
        elif query.legs is None:
            assert asked.wait(LONG)
        else:
            until(lambda: len(fairgate._queue) == 2)
    assert answered.wait(LONG)
    assert asked.is_set() is (query.legs is None)
    for thread in threads:
        thread.join(LONG)
