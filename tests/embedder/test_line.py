"""Who is served when several wait."""

import threading
import time

import pytest

from core.protocols import Priority
from embedder.line import Line


def test_the_most_urgent_are_served_first_and_within_them_who_came_first() -> None:
    line, served, threads = Line(), list[tuple[Priority, int]](), []
    arrivals = [Priority.NICE, Priority.BULK, Priority.INTERACTIVE, Priority.NICE, Priority.INTERACTIVE, Priority.BULK]

    def serve(priority: Priority, number: int) -> None:
        with line.turn(priority):
            served.append((priority, number))

    with line.turn(Priority.NICE):  # whoever is at work is not interrupted
        for number, priority in enumerate(arrivals):
            threads.append(threading.Thread(target=serve, args=(priority, number)))
            threads[-1].start()
            while len(line._waiting) <= number:  # each is in line before the next arrives
                time.sleep(0.001)
        assert served == []
    for thread in threads:
        thread.join()
    assert served == sorted((priority, number) for number, priority in enumerate(arrivals))


def test_one_at_a_time_and_a_failure_ends_a_turn() -> None:
    line, at_work, most = Line(), [0], [0]

    def work() -> None:
        for _ in range(50):
            with line.turn(Priority.INTERACTIVE):
                at_work[0] += 1
                most[0] = max(most[0], at_work[0])
                time.sleep(0)
                at_work[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    with pytest.raises(ZeroDivisionError), line.turn(Priority.BULK):
        raise ZeroDivisionError
    with line.turn(Priority.NICE):
        assert line._waiting == []
