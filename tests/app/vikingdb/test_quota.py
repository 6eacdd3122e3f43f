from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.quota import TokenQuota
from app.errors import QuotaExceeded


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def used_of(quota: TokenQuota, account: str = "ak", model: str = "bge-m3") -> int:
    """Tokens charged in the last minute."""
    window = quota._windows.get((account, model))
    return 0 if window is None else window.tokens_at(quota._clock())


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spend(quota: TokenQuota, tokens: int, account: str = "ak", model: str = "bge-m3") -> None:
    with quota.charged(account, model, tokens):
        pass


def test_a_minute_slides(clock: Clock) -> None:
    quota = TokenQuota(100, clock=clock)
    spend(quota, 60)
    clock.now = 30.0
    spend(quota, 40)
    with pytest.raises(QuotaExceeded, match=r"100 of 100 tokens of bge-m3 .* this request has 1; try again in 30 s"):
        spend(quota, 1)
    clock.now = 59.9
    with pytest.raises(QuotaExceeded):
        spend(quota, 1)
    clock.now = 60.0  # the first 60 have run out, the 40 have not
    with pytest.raises(QuotaExceeded):
        spend(quota, 61)
    spend(quota, 60)
    assert used_of(quota) == 100


def test_it_says_when_there_is_room(clock: Clock) -> None:
    quota = TokenQuota(100, clock=clock)
    for clock.now, tokens in ((0.0, 30), (10.0, 30), (20.0, 40)):
        spend(quota, tokens)
    clock.now = 25.0
    for tokens, seconds in ((30, 35.0), (31, 45.0), (60, 45.0), (61, 55.0), (100, 55.0)):
        with pytest.raises(QuotaExceeded) as raised:
            spend(quota, tokens)
        assert raised.value.retry_after == seconds
        assert raised.value.retryable


def test_what_never_fits_is_not_to_be_tried_again(clock: Clock) -> None:
    with pytest.raises(QuotaExceeded, match=r"101 tokens, more than the 100 .* send less at once") as raised:
        spend(TokenQuota(100, clock=clock), 101)
    assert raised.value.retry_after is None
    assert not raised.value.retryable


def test_refused_and_failed_requests_cost_nothing(clock: Clock) -> None:
    quota = TokenQuota(100, clock=clock)
    spend(quota, 50)
    for _ in range(5):
        with pytest.raises(QuotaExceeded):
            spend(quota, 51)
    with pytest.raises(ZeroDivisionError), quota.charged("ak", "bge-m3", 50):
        _ = 1 / 0
    assert used_of(quota) == 50
    spend(quota, 50)


def test_work_that_fails_after_its_minute_gives_nothing_back_twice(clock: Clock) -> None:
    quota = TokenQuota(100, clock=clock)

    def slow_failure() -> None:
        with quota.charged("ak", "bge-m3", 80):
            clock.now = 61.0
            assert used_of(quota) == 0
            spend(quota, 30)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        slow_failure()
    assert used_of(quota) == 30


def test_accounts_and_models_have_quotas_of_their_own(clock: Clock) -> None:
    quota = TokenQuota(100, clock=clock)
    for account in ("one", "other"):
        for model in ("bge-m3", "bge-large-zh"):
            spend(quota, 100, account, model)
            with pytest.raises(QuotaExceeded):
                spend(quota, 1, account, model)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60)), max_size=40))
def test_as_if_every_request_were_looked_at_again(requests: list[tuple[int, int]]) -> None:
    clock, accepted = Clock(), list[tuple[float, int]]()
    quota = TokenQuota(100, clock=clock)
    for wait, tokens in requests:
        clock.now += wait
        used = sum(spent for then, spent in accepted if clock.now - then < 60)
        assert used_of(quota) == used
        try:
            spend(quota, tokens)
        except QuotaExceeded:
            assert used + tokens > 100
        else:
            assert used + tokens <= 100
            accepted.append((clock.now, tokens))


def test_threads_never_get_more_than_there_is() -> None:
    quota = TokenQuota(1000, clock=lambda: 0.0)
    together, passed = threading.Barrier(8, timeout=60), list[int]()

    def client() -> None:
        together.wait()
        for _ in range(50):
            try:
                spend(quota, 10)
                passed.append(10)
            except QuotaExceeded:
                pass

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(passed) == 1000 == used_of(quota)
