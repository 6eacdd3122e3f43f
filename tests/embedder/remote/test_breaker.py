"""The breaker's three states, step by step and from several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import RemoteUnavailable
from embedder.remote.breaker import BreakerState, CircuitBreaker
from tests.embedder.remote.world import FakeTime


@pytest.fixture
def breaker(time: FakeTime) -> CircuitBreaker:
    return CircuitBreaker("model x", clock=time.clock, failures=3, open_seconds=10)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.enter()
        breaker.failed("hung up")


def state(breaker: CircuitBreaker) -> BreakerState:
    return breaker.state


def refused(breaker: CircuitBreaker) -> RemoteUnavailable:
    with pytest.raises(RemoteUnavailable) as caught:
        breaker.enter()
    return caught.value


def test_failures_in_a_row_open_it(breaker: CircuitBreaker, time: FakeTime) -> None:
    fail(breaker, 2)
    breaker.enter()
    breaker.succeeded()
    fail(breaker, 2)
    assert state(breaker) is BreakerState.CLOSED
    fail(breaker, 1)
    assert state(breaker) is BreakerState.OPEN
    time.seconds += 4
    error = refused(breaker)
    assert error.retry_after == 6
    assert error.message == (
        "model x failed 3 times in a row, the last time it hung up; it is left alone for a while, try again in 6 s"
    )


def test_one_trial_decides(breaker: CircuitBreaker, time: FakeTime) -> None:
    fail(breaker, 3)
    time.seconds += 10
    assert state(breaker) is BreakerState.HALF_OPEN
    breaker.enter()
    assert refused(breaker).retry_after == 1
    breaker.failed("hung up")
    assert state(breaker) is BreakerState.OPEN
    time.seconds += 9.9
    refused(breaker)
    time.seconds += 0.1
    breaker.enter()
    breaker.succeeded()
    assert state(breaker) is BreakerState.CLOSED
    fail(breaker, 2)
    assert state(breaker) is BreakerState.CLOSED


def test_a_trial_that_was_not_sent_is_given_back(breaker: CircuitBreaker, time: FakeTime) -> None:
    fail(breaker, 3)
    time.seconds += 10
    breaker.enter()
    breaker.released()
    breaker.enter()
    breaker.succeeded()
    assert state(breaker) is BreakerState.CLOSED


def test_a_late_failure_does_not_prolong_it(breaker: CircuitBreaker, time: FakeTime) -> None:
    for _ in range(4):
        breaker.enter()  # four were under way
    for _ in range(3):
        breaker.failed("hung up")
    time.seconds += 9
    breaker.failed("hung up")
    time.seconds += 1
    assert state(breaker) is BreakerState.HALF_OPEN


def test_of_many_threads_one_gets_the_trial(breaker: CircuitBreaker, time: FakeTime) -> None:
    fail(breaker, 3)
    time.seconds += 10

    def enter(_: int) -> bool:
        try:
            breaker.enter()
        except RemoteUnavailable:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(enter, range(40))) == 1
