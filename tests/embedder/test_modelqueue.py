"""Who is served when several wait."""

import threading
import time

import pytest

import embedder.scheduling
from core.context import Awaited, awaited
from core.errors import Abandoned
from core.protocols import Priority, RanBatch
from embedder.modelqueue import ModelQueue
from embedder.scheduling import Scheduler
from tests.waiting import until

LONG = 30.0  # seconds that a loaded machine may take


def present(*lines: ModelQueue) -> int:
    return sum(sum(line.waiting().values()) for line in lines)


def test_the_most_urgent_are_served_first_and_within_them_who_came_first() -> None:
    line, served, threads = ModelQueue(), list[tuple[Priority, int]](), []
    arrivals = [Priority.NICE, Priority.BULK, Priority.INTERACTIVE, Priority.NICE, Priority.INTERACTIVE, Priority.BULK]

    def serve(priority: Priority, number: int) -> None:
        with line.turn(priority, texts=1, tokens=1):
            served.append((priority, number))

    with line.turn(Priority.NICE, texts=1, tokens=1):  # whoever is at work is not interrupted
        for number, priority in enumerate(arrivals):
            threads.append(threading.Thread(target=serve, args=(priority, number)))
            threads[-1].start()
            until(lambda number=number: present(line) == number + 2)  # type: ignore[misc]  # before the next arrives
        assert served == []
    for thread in threads:
        thread.join(LONG)
    assert served == sorted((priority, number) for number, priority in enumerate(arrivals))


def test_one_at_a_time_and_a_failure_ends_a_turn() -> None:
    line, at_work, most = ModelQueue(), [0], [0]

    def work() -> None:
        for _ in range(50):
            with line.turn(Priority.INTERACTIVE, texts=1, tokens=1):
                at_work[0] += 1
                most[0] = max(most[0], at_work[0])
                time.sleep(0)
                at_work[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert most == [1]
    with pytest.raises(ZeroDivisionError), line.turn(Priority.BULK, texts=1, tokens=1):
        raise ZeroDivisionError
    with line.turn(Priority.NICE, texts=1, tokens=1):
        assert sum(line.waiting().values()) == 1


def test_two_models_of_a_place_take_turns_in_the_order_of_arrival() -> None:
    """Also where one comes back for its next batch at once, as a reranker does: nobody is overtaken by it."""
    scheduler, served = Scheduler(), list[str]()
    judge, other = ModelQueue(scheduler), ModelQueue(scheduler)

    def rerank() -> None:
        with judge.staying(Priority.INTERACTIVE):
            for _ in range(20):
                with judge.turn(Priority.INTERACTIVE, texts=1, tokens=1):
                    served.append("rerank")
                    time.sleep(0.01)

    def query() -> None:
        with other.turn(Priority.INTERACTIVE, texts=1, tokens=1):
            served.append("query")

    with other.turn(Priority.INTERACTIVE, texts=1, tokens=1):
        threads = [threading.Thread(target=rerank), *(threading.Thread(target=query) for _ in range(3))]
        for number, thread in enumerate(threads, start=2):
            thread.start()
            until(lambda number=number: present(judge, other) == number)  # type: ignore[misc]
    for thread in threads:
        thread.join(LONG)
    assert served == ["rerank", *["query"] * 3, *["rerank"] * 19]


def test_a_reranker_waits_for_one_batch_of_an_ingest_and_not_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder.scheduling, "URGENT_SECONDS", LONG)
    scheduler, served = Scheduler(), list[str]()
    judge, passages = ModelQueue(scheduler), ModelQueue(scheduler)
    begun = threading.Event()

    def ingest() -> None:
        with passages.staying(Priority.BULK):
            for _ in range(5):
                with passages.turn(Priority.BULK, texts=8, tokens=80):
                    begun.set()
                    served.append("ingest")
                    until(lambda: len(served) > 1 or present(judge) > 0)

    thread = threading.Thread(target=ingest)
    thread.start()
    assert begun.wait(LONG)
    with judge.staying(Priority.INTERACTIVE):
        for _ in range(3):
            with judge.turn(Priority.INTERACTIVE, texts=1, tokens=1):
                served.append("rerank")
            time.sleep(0.01)  # between two batches nobody less urgent comes in
    thread.join(LONG)
    assert served == ["ingest", *["rerank"] * 3, *["ingest"] * 4]
    assert judge.room(400, Priority.BULK) == 100  # a moment ago somebody waited for an answer
    assert judge.room(400, Priority.INTERACTIVE) == 400


def test_queries_without_end_let_an_ingest_pass_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder.scheduling, "PATIENCE_SECONDS", 0.1)
    scheduler, over = Scheduler(), threading.Event()
    judge, passages = ModelQueue(scheduler), ModelQueue(scheduler)

    def rerank() -> None:
        with judge.staying(Priority.INTERACTIVE):
            while not over.is_set():
                with judge.turn(Priority.INTERACTIVE, texts=1, tokens=1):
                    time.sleep(0.002)

    threads = [threading.Thread(target=rerank) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: present(judge) > 0)

    def ingest() -> None:
        for _ in range(2):
            with passages.turn(Priority.BULK, texts=1, tokens=1):
                pass
        took.append(time.monotonic() - begun)

    took, begun = list[float](), time.monotonic()
    threads.append(threading.Thread(target=ingest))
    threads[-1].start()
    threads[-1].join(LONG)
    over.set()
    for thread in threads:
        thread.join(LONG)
    assert took, "nobody let the ingest in"
    assert took[0] >= 0.2


def test_who_has_waited_for_long_enough_is_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many who are more urgent wait beside it, and whoever of them wakes first."""
    monkeypatch.setattr(embedder.scheduling, "PATIENCE_SECONDS", 0.05)
    scheduler, served = Scheduler(), list[Priority]()
    queries, passages = ModelQueue(scheduler), ModelQueue(scheduler)

    def serve(line: ModelQueue, priority: Priority) -> None:
        with line.turn(priority, texts=1, tokens=1):
            served.append(priority)

    with queries.turn(Priority.INTERACTIVE, texts=1, tokens=1):
        arrivals = [(queries, Priority.INTERACTIVE)] * 6 + [(passages, Priority.BULK)]
        threads = [threading.Thread(target=serve, args=arrival) for arrival in arrivals]
        for thread in threads:
            thread.start()
        until(lambda: present(queries, passages) > len(threads))
        time.sleep(0.1)
    for thread in threads:
        thread.join(LONG)
    assert served == [Priority.BULK, *[Priority.INTERACTIVE] * 6]


def test_who_stays_without_asking_for_more_holds_up_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder.scheduling, "PATIENCE_SECONDS", 0.1)
    scheduler, done = Scheduler(), list[float]()

    def ingest() -> None:
        begun = time.monotonic()
        with ModelQueue(scheduler).turn(Priority.BULK, texts=1, tokens=1):
            done.append(time.monotonic() - begun)

    with ModelQueue(scheduler).staying(Priority.INTERACTIVE):
        thread = threading.Thread(target=ingest)
        thread.start()
        thread.join(LONG)
        assert done, "it waits for whoever stays to leave"
    assert done[0] >= 0.1


def test_batches_are_told_and_those_that_fail_are_not() -> None:
    line, told = ModelQueue(), list[RanBatch]()
    line.observe(told.append)
    with line.turn(Priority.BULK, texts=3, tokens=40):
        assert line.waiting() == {Priority.INTERACTIVE: 0, Priority.BULK: 1, Priority.NICE: 0}
        time.sleep(0.01)
    with pytest.raises(ZeroDivisionError), line.turn(Priority.BULK, texts=1, tokens=1):
        raise ZeroDivisionError
    [batch] = told
    assert (batch.priority, batch.texts, batch.tokens) == (Priority.BULK, 3, 40)
    assert 0.01 <= batch.seconds < 5
    assert present(line) == 0


def test_who_nobody_waits_for_has_no_turn_at_once_or_behind_others() -> None:
    line, answer, served, ended = ModelQueue(), Awaited(), list[str](), list[str]()

    def of_one_who_leaves() -> None:
        try:
            with awaited(answer), line.turn(Priority.INTERACTIVE, texts=1, tokens=1):
                served.append("gone")
        except Abandoned:
            ended.append("abandoned")

    def of_one_who_stays() -> None:
        with awaited(Awaited()), line.turn(Priority.INTERACTIVE, texts=1, tokens=1):
            served.append("there")

    with line.turn(Priority.INTERACTIVE, texts=1, tokens=1):
        threads = [threading.Thread(target=work) for work in (of_one_who_leaves, of_one_who_stays)]
        for number, thread in enumerate(threads, start=2):
            thread.start()
            until(lambda number=number: present(line) == number)  # type: ignore[misc]
        answer.give_up()
    for thread in threads:
        thread.join(LONG)
    of_one_who_leaves()
    assert (served, ended) == (["there"], ["abandoned", "abandoned"])
    assert present(line) == 0
