"""The token bucket: within the quota in any minute, and nearly all of it used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.remote.quota import Quota
from tests.embedder.remote.world import FakeTime


def quota(time: FakeTime, requests: int | None = None, tokens: int | None = None) -> Quota:
    return Quota(requests_per_minute=requests, tokens_per_minute=tokens, clock=time.clock)


def test_without_limits_nothing_waits(time: FakeTime) -> None:
    assert quota(time).reserve(10**9, patience=0) == 0.0


def test_a_bucket_by_hand(time: FakeTime) -> None:
    """60 requests a minute: 10 at once, then 50 more over the minute, one every 1.2 s."""
    bucket = quota(time, requests=60)
    assert [bucket.reserve(1, patience=99) for _ in range(12)] == pytest.approx([0.0] * 10 + [1.2, 2.4])
    time.seconds += 2.4
    assert bucket.reserve(1, patience=99) == pytest.approx(1.2)


def test_what_would_wait_too_long_reserves_nothing(time: FakeTime) -> None:
    bucket = quota(time, tokens=600)
    assert bucket.reserve(100, patience=0) == 0.0
    assert bucket.reserve(100, patience=5) == pytest.approx(12.0)
    assert bucket.reserve(50, patience=6) == pytest.approx(6.0)


def test_a_request_above_the_bucket_waits_for_all_it_costs(time: FakeTime) -> None:
    bucket = quota(time, tokens=600)
    assert bucket.token_capacity == 100
    assert bucket.reserve(300, patience=99) == pytest.approx(24.0)
    assert bucket.reserve(50, patience=99) == pytest.approx(30.0)


def test_tokens_that_were_not_used_come_back(time: FakeTime) -> None:
    bucket = quota(time, tokens=600)
    bucket.reserve(100, patience=0)
    bucket.settle(100, 40)
    assert bucket.reserve(60, patience=0) == 0.0
    bucket.settle(60, 160)
    assert bucket.reserve(1, patience=99) == pytest.approx(101 / (500 / 60))


def test_a_count_gone_mad_stops_nobody_for_long(time: FakeTime) -> None:
    bucket = quota(time, tokens=600)
    bucket.reserve(100, patience=0)
    bucket.settle(100, 10**30)
    assert bucket.reserve(1, patience=99) == pytest.approx(101 / (500 / 60))


def test_what_others_reserved_is_not_forgotten_over_a_count_gone_mad(time: FakeTime) -> None:
    bucket = quota(time, tokens=600)
    assert bucket.reserve(300, patience=99) == pytest.approx(200 / (500 / 60))
    bucket.settle(10, 10**30)
    assert bucket.reserve(1, patience=99) == pytest.approx(201 / (500 / 60))


def test_a_pause_holds_for_all(time: FakeTime) -> None:
    bucket = quota(time)
    bucket.pause(5)
    bucket.pause(3)
    assert bucket.reserve(1, patience=99) == 5.0
    time.seconds += 5
    assert bucket.reserve(1, patience=99) == 0.0


@given(
    per_minute=st.integers(1, 300),
    costs=st.lists(st.tuples(st.integers(1, 50), st.floats(0, 30)), min_size=1, max_size=60),
)
def test_no_minute_sees_more_than_the_quota(per_minute: int, costs: list[tuple[int, float]]) -> None:
    time = FakeTime()
    bucket = quota(time, tokens=per_minute)
    sent: list[tuple[float, int]] = []
    for cost, pause in costs:
        cost = max(1, int(min(cost, bucket.token_capacity)))  # as batches are cut
        time.seconds += pause
        sent.append((time.seconds + bucket.reserve(cost, patience=1e9), cost))
    for start, _ in sent:
        inside = sum(cost for at, cost in sent if start <= at < start + 60 - 1e-6)
        assert inside <= per_minute


@pytest.mark.parametrize("per_minute", [1, 2, 6, 60, 1000])
def test_a_steady_stream_gets_nearly_the_quota(per_minute: int) -> None:
    time = FakeTime()
    bucket = quota(time, requests=per_minute)
    for _ in range(10 * per_minute):
        time.seconds += bucket.reserve(1, patience=1e9)
    minutes = (time.seconds - 1000) / 60
    assert 10 * per_minute / minutes >= 0.49 * per_minute  # a quota of 1 or 2 leaves half of it unused
    if per_minute >= 60:
        assert 10 * per_minute / minutes >= 0.8 * per_minute
