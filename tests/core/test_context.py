"""Who waits for what is being worked on."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from core.context import (
    Awaited,
    awaited,
    check_awaited,
    current_answer,
    current_job,
    current_trace,
    traced_as,
    working_on,
)
from core.errors import Abandoned


def test_work_that_nobody_asked_for_goes_on() -> None:
    assert current_answer() is None
    check_awaited()


def test_giving_up_is_seen_by_the_work_and_its_threads() -> None:
    answer = Awaited()
    with awaited(answer), ThreadPoolExecutor(1) as threads:
        check_awaited()
        threads.submit(copy_context().run, check_awaited).result()
        answer.give_up()
        with pytest.raises(Abandoned):
            check_awaited()
        with pytest.raises(Abandoned):
            threads.submit(copy_context().run, check_awaited).result()
        threads.submit(check_awaited).result()  # of a thread that works for somebody else
    check_awaited()


def test_an_answer_is_late_at_its_time_and_not_before() -> None:
    assert not Awaited(time.monotonic() + 60).over
    assert Awaited(time.monotonic()).over


def test_a_part_is_given_up_with_the_whole_but_not_the_other_way_round() -> None:
    whole = Awaited()
    part, other = Awaited(within=whole), Awaited(within=whole)
    part.give_up()
    assert (part.over, other.over, whole.over) == (True, False, False)
    whole.give_up()
    assert other.over


def test_jobs_and_traces_are_known_within_their_block_only() -> None:
    with working_on(7), traced_as("00-trace"):
        assert (current_job(), current_trace()) == (7, "00-trace")
        with working_on(8), traced_as(None):
            assert (current_job(), current_trace()) == (8, None)
        assert (current_job(), current_trace()) == (7, "00-trace")
    assert (current_job(), current_trace()) == (None, None)
