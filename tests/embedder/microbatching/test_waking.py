"""Who waits is woken when it matters to him, also where something goes wrong meanwhile."""

import threading
from concurrent.futures import Future

import pytest
from torch import Tensor

import embedder.scheduling
from core.protocols import Priority, RanBatch
from embedder.microbatching import MicroBatcher
from embedder.modelqueue import ModelQueue
from embedder.scheduling import Scheduler, Waiter
from tests.embedder.microbatching.recording import Recording, text, until, waiting

LONG = 30.0  # seconds that a loaded machine may take


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by himself, nor is overdue."""
    monkeypatch.setattr(embedder.scheduling, "PATIENCE_SECONDS", 100 * LONG)


def test_nobody_wakes_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, callers, looked = Scheduler(), 8, [0]
    line, is_free_for = ModelQueue(scheduler), scheduler._is_free_for

    def counted(own: Waiter) -> bool:
        looked[0] += 1
        return is_free_for(own)

    def work() -> None:
        with line.turn(Priority.INTERACTIVE, texts=1, tokens=1):
            pass

    monkeypatch.setattr(scheduler, "_is_free_for", counted)
    threads = [threading.Thread(target=work) for _ in range(callers)]
    with line.turn(Priority.INTERACTIVE, texts=1, tokens=1):
        for thread in threads:
            thread.start()
        until(lambda: looked[0] == 1 + callers)  # each when it comes
    for thread in threads:
        thread.join(LONG)
    assert not any(thread.is_alive() for thread in threads)
    assert looked[0] == 1 + 2 * callers, "and once more when it is its turn"


def test_whose_work_is_done_hears_of_it_though_the_worker_fails_afterwards(recording: Recording) -> None:
    turns, answers = MicroBatcher(recording, 100), [Future[Tensor]() for _ in range(4)]

    def observed(batch: RanBatch) -> None:
        raise ZeroDivisionError

    def ask(number: int) -> None:
        try:
            answers[number].set_result(turns.hidden([text(5 + number)], None))
        except ZeroDivisionError as error:
            answers[number].set_exception(error)

    turns.observe(observed)
    with recording.held_up():
        for number in range(4):
            threading.Thread(target=ask, args=(number,), daemon=True).start()
            until(lambda number=number: waiting(turns) == number + 1)  # type: ignore[misc]
    assert [answer.exception(LONG) is None for answer in answers].count(True) == 2, "those that did no work"
    assert [len(batch) for batch in recording.batches] == [1, 3]


def test_who_finds_another_overdue_wakes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, served, late = Scheduler(), list[Priority](), threading.Event()
    line, other, is_free_for = ModelQueue(scheduler), ModelQueue(scheduler), scheduler._is_free_for
    looks = dict.fromkeys(Priority, 0)

    def looked(own: Waiter) -> bool:
        looks[own.priority] += 1
        if own.priority is Priority.INTERACTIVE and looks[own.priority] == 2:  # it is told that it is next
            late.set()
        return is_free_for(own)

    def work(line: ModelQueue, priority: Priority) -> None:
        with line.turn(priority, texts=1, tokens=1):
            served.append(priority)

    monkeypatch.setattr(scheduler, "_is_free_for", looked)
    monkeypatch.setattr(scheduler, "_overdue", lambda own: late.is_set() and own.priority is Priority.BULK)
    threads = [
        threading.Thread(target=work, args=given, daemon=True)
        for given in ((line, Priority.BULK), (other, Priority.INTERACTIVE))
    ]
    with line.turn(Priority.NICE, texts=1, tokens=1):
        for thread in threads:
            thread.start()
        until(lambda: looks[Priority.BULK] == looks[Priority.INTERACTIVE] == 1)
    for thread in threads:
        thread.join(LONG)
    assert served == [Priority.BULK, Priority.INTERACTIVE]
