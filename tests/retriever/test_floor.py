"""Who has the floor, and for how long alone."""

from __future__ import annotations

import threading
import time

import pytest

from retriever import floor as module
from retriever.floor import Floor
from tests.waiting import until

LONG = 30.0  # seconds that a loaded machine may take


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", LONG)


@pytest.mark.usefixtures("patient")
def test_one_at_a_time_and_first_come_first_served() -> None:
    floor, at_once, most, came = Floor(), 0, 0, list[int]()
    waiting = threading.Semaphore(0)

    def speak(number: int) -> None:
        nonlocal at_once, most
        waiting.release()
        with floor.taken():
            at_once += 1
            most = max(most, at_once)
            came.append(number)
            time.sleep(0.002)
            at_once -= 1

    with floor.taken():
        threads = []
        for number in range(8):
            threads.append(threading.Thread(target=speak, args=(number,)))
            threads[-1].start()
            assert waiting.acquire(timeout=LONG)
            until(lambda: len(floor._line) == len(threads))
        assert came == []
    for thread in threads:
        thread.join(LONG)
    assert came == list(range(8))
    assert most == 1


def test_who_takes_long_shares_the_floor() -> None:
    floor, others = Floor(), list[float]()

    def speak() -> None:
        with floor.taken():
            others.append(time.monotonic())

    threads = [threading.Thread(target=speak) for _ in range(5)]
    with floor.taken():
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert len(others) == 5, "they waited for the end of somebody who takes long"
    assert min(others) - begun >= module.PATIENCE_SECONDS / 2


@pytest.mark.usefixtures("patient")
def test_the_floor_is_free_after_an_error() -> None:
    floor = Floor()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), floor.taken():
            raise ZeroDivisionError
    done = threading.Event()

    def speak() -> None:
        with floor.taken():
            done.set()

    threading.Thread(target=speak, daemon=True).start()
    assert done.wait(LONG / 2)


def test_who_shared_it_does_not_free_it_for_a_third() -> None:
    """The first, who took long, ends while the second is still new: the third waits for the second."""
    floor = Floor()
    first_may_end, second_speaks, second_may_end, third_speaks = (threading.Event() for _ in range(4))

    def second() -> None:
        with floor.taken():
            second_speaks.set()
            second_may_end.wait(LONG)

    def third() -> None:
        with floor.taken():
            third_speaks.set()

    def first() -> None:
        with floor.taken():
            first_may_end.wait(LONG)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    until(lambda: floor._newest is not None)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    assert second_speaks.wait(LONG)
    floor._free_from = time.monotonic() + LONG  # so that only an end can free it
    threads.append(threading.Thread(target=third))
    threads[2].start()
    until(lambda: len(floor._line) == 1)
    first_may_end.set()
    threads[0].join(LONG)
    assert not third_speaks.wait(0.2)
    second_may_end.set()
    assert third_speaks.wait(LONG)
    for thread in threads[1:]:
        thread.join(LONG)
