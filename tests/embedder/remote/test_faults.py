"""Every fault that a remote can have, on a real socket: what is tried again, what is refused, how long it may take."""

from __future__ import annotations

import math
import socket
import threading
import time as real_time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core.errors import InvalidInput, RemoteMismatch, RemoteRefused, RemoteUnavailable
from core.prompts import Prompt, TextControl
from core.protocols import Priority
from core.records import Representation
from embedder.remote.encoder import RemoteEncoder, RemoteHybridEncoder
from embedder.remote.identity import PROBE_TEXT
from tests.embedder.remote.conftest import TOKEN, Make
from tests.embedder.remote.server import (
    Fault,
    Remote,
    drip,
    half_a_body,
    half_a_body_unannounced,
    later,
    reset,
    send_json,
    status,
)
from tests.embedder.remote.world import FakeTime

TEXT = "an unusual sentence about turbines"


def encode(encoder: RemoteEncoder, text: str = TEXT, priority: Priority = Priority.INTERACTIVE) -> list[float]:
    vectors = encoder.encode([Prompt.of(text)], Representation.QUERY, priority=priority).vectors
    return [float(value) for value in vectors[0]]


@pytest.mark.parametrize(
    ("fault", "slept"),
    [
        (reset, [0.5]),
        (half_a_body, [0.5]),
        (half_a_body_unannounced, [0.5]),
        (status(429), [0.5]),
        (status(429, Retry_After="7"), [7.0]),
        (status(503, Retry_After="Mon, 05 Jan 2026 12:00:09 GMT", Date="Mon, 05 Jan 2026 12:00:00 GMT"), [9.0]),
        (status(408), [0.5]),
        (status(500), [0.5]),
        (status(502, {"error": "upstream"}), [0.5]),
        (status(599), [0.5]),
    ],
    ids=["reset", "half", "half unannounced", "429", "429 after 7 s", "503 after a date", "408", "500", "502", "599"],
)
def test_what_may_pass_is_tried_again(
    remote: Remote, make: Make, time: FakeTime, fault: Fault, slept: list[float]
) -> None:
    remote.faults.append(fault)
    np.testing.assert_allclose(encode(make()), remote.unit(TEXT), atol=1e-6)
    assert len(remote.asked) == 2
    assert time.slept == slept


def test_retries_back_off_and_end(remote: Remote, make: Make, time: FakeTime) -> None:
    remote.faults.extend([status(500, {"error": {"message": "out of order"}})] * 9)
    with pytest.raises(RemoteUnavailable, match=r"answered 500: out of order \(given up after 5 tries\)"):
        encode(make(attempts=5))
    assert len(remote.asked) == 5
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


def test_the_deadline_ends_retries_before_they_would_be_late(remote: Remote, make: Make, time: FakeTime) -> None:
    remote.faults.extend([status(500)] * 9)
    encoder = make(deadline_seconds=3.0)
    _ = encoder.dimension
    began = time.clock()
    with pytest.raises(RemoteUnavailable, match="given up after 3 tries"):
        encode(encoder)
    assert time.clock() - began == 1.5  # another 2 s would end at 3.5


def test_a_remote_that_asks_for_more_time_than_there_is_is_not_waited_for(
    remote: Remote, make: Make, time: FakeTime
) -> None:
    remote.faults.append(status(429, Retry_After="100"))
    with pytest.raises(RemoteUnavailable) as caught:
        encode(make(deadline_seconds=60))
    assert caught.value.retry_after == 100
    assert time.slept == []


def test_what_one_request_was_asked_to_wait_all_wait(remote: Remote, make: Make) -> None:
    encoder = make(real=True)
    _ = encoder.dimension
    remote.faults.append(status(429, Retry_After="1"))
    first = threading.Thread(target=encode, args=(encoder, "first"))
    first.start()
    deadline = real_time.monotonic() + 60
    while not remote.asked:
        assert real_time.monotonic() < deadline
        real_time.sleep(0.005)
    real_time.sleep(0.3)  # the answer is there by now
    encode(encoder, "second")
    first.join(60)
    assert sorted(request.texts[0] for request in remote.asked) == ["first", "first", "second"]
    assert all(request.at - remote.asked[0].at > 0.95 for request in remote.asked[1:])


@pytest.mark.parametrize("code", [401, 402, 404, 409, 301, 307])
def test_no_other_answer_is_tried_again(remote: Remote, make: Make, time: FakeTime, code: int) -> None:
    remote.faults.append(status(code, {"error": "no such thing"}, Location="http://127.0.0.1:1/"))
    with pytest.raises(RemoteRefused, match=f"answered {code}: no such thing"):
        encode(make())
    assert len(remote.asked) == 1
    assert time.slept == []


@pytest.mark.parametrize("code", [400, 403, 413, 422, 451])
def test_what_the_remote_finds_at_fault_is_the_callers(remote: Remote, make: Make, time: FakeTime, code: int) -> None:
    """The remote took the probe, so it is not the address, the key or the model's name that it minds."""
    remote.faults.append(status(code, {"error": "prompt is empty"}))
    with pytest.raises(InvalidInput, match=f"answered {code}: prompt is empty"):
        encode(make())
    assert len(remote.asked) == 1
    assert time.slept == []


def test_a_probe_that_is_refused_is_no_callers_fault(remote: Remote, make: Make) -> None:
    remote.refuses_probes = True
    with pytest.raises(RemoteRefused, match="answered 400: there is no such model") as caught:
        encode(make())
    assert caught.value.status == 400


@pytest.mark.parametrize("priority", [Priority.INTERACTIVE, Priority.BULK])
def test_one_prompt_of_a_batch_that_is_refused_alone_is_the_callers(
    remote: Remote, make: Make, priority: Priority
) -> None:
    remote.refuses = lambda request: "bad" in request.texts
    given = [Prompt.of(text) for text in ("a", "b", "c", "bad", "d")]
    with pytest.raises(InvalidInput, match="answered 422: this will not do") as caught:
        make().encode(given, Representation.DOCUMENT, priority=priority)
    assert [text for text in remote.asked[-1].texts if text != PROBE_TEXT] == ["bad"]
    assert caught.value.index == 3
    with pytest.raises(InvalidInput) as caught:
        make(batch_items=3).encode(given, Representation.DOCUMENT, priority=priority)
    assert caught.value.index == 3  # of all prompts: the second of its batch


def test_what_is_found_at_fault_before_it_is_sent_is_told_with_its_place(make: Make) -> None:
    steered = Prompt.of("hot", (TextControl(start=0, length=3, factor=2.0),))
    with pytest.raises(InvalidInput) as caught:
        make().encode([Prompt.of("hot"), steered], Representation.QUERY)
    assert caught.value.index == 1


def test_a_remote_that_takes_less_at_once_than_is_set_here_gets_it_in_parts(remote: Remote, make: Make) -> None:
    remote.refuses = lambda request: len(request.texts) > 4
    texts = [f"text {i}" for i in range(9)]
    found = make().encode([Prompt.of(text) for text in texts], Representation.DOCUMENT)
    assert [len(request.texts) for request in remote.asked] == [9, 4, 5, 2, 3]
    np.testing.assert_allclose(found.vectors, [remote.unit(text) for text in texts], atol=1e-6)
    assert found.token_counts.tolist() == [2] * 9
    assert found.truncated.tolist() == [False] * 9


def test_a_wish_that_is_refused_for_the_probe_too_is_no_callers_fault(remote: Remote, make: Make) -> None:
    """The remote took the first probe, which asks for no sparse vectors."""
    encoder = make(api="vikingdb", sparse=True)
    assert isinstance(encoder, RemoteHybridEncoder)
    _ = encoder.dimension
    remote.refuses = lambda request: request.body["model"]["params"]["return_sparse"]
    with pytest.raises(RemoteRefused, match="answered 422"):
        encoder.encode_hybrid([Prompt.of(TEXT)], Representation.QUERY)
    encode(encoder)


def test_a_slow_answer_is_given_up_in_time(remote: Remote, make: Make) -> None:
    encoder = make(real=True, timeout_seconds=0.3, deadline_seconds=1)
    _ = encoder.dimension
    remote.faults.extend([later(20, send_json)] * 9)
    began = real_time.monotonic()
    with pytest.raises(RemoteUnavailable, match="did not answer in time: ReadTimeout"):
        encode(encoder)
    assert real_time.monotonic() - began < 15  # the answer would come after 20 s


def test_all_who_wait_for_the_first_answer_are_done_in_time(remote: Remote, make: Make) -> None:
    """A remote that has hung since the start: nobody's time begins when that of the one before has ended."""
    remote.delay = lambda request: 30
    encoder = make(real=True, deadline_seconds=1)
    began, took = real_time.monotonic(), []

    def ask() -> None:
        with pytest.raises(RemoteUnavailable):
            encode(encoder)
        took.append(real_time.monotonic() - began)

    callers = [threading.Thread(target=ask) for _ in range(12)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert len(took) == 12
    assert max(took) < 9  # one after the other, 12


def test_an_answer_that_drips_is_given_up_at_the_deadline(remote: Remote, make: Make) -> None:
    """No timeout between two bytes ever fires: only the deadline ends it."""
    encoder = make(real=True, timeout_seconds=60, deadline_seconds=0.5)
    _ = encoder.dimension
    remote.faults.append(drip)
    began = real_time.monotonic()
    with pytest.raises(RemoteUnavailable, match="in time"):
        encode(encoder)
    assert 0.45 < real_time.monotonic() - began < 8  # the whole answer takes more than 10 s


def test_a_remote_that_is_not_there(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    encoder = make(url=f"http://127.0.0.1:{port}", attempts=2)
    with pytest.raises(RemoteUnavailable, match=rf"model mine: 127\.0\.0\.1:{port} cannot be reached.*after 2 tries"):
        _ = encoder.dimension


def test_a_page_in_place_of_json(remote: Remote, make: Make) -> None:
    remote.faults.extend([lambda handler, answer: handler.send(200, b"<html>log in</html>")] * 2)
    with pytest.raises(RemoteUnavailable, match="something that is not JSON"):
        encode(make(attempts=2))


def change_vector(value: Any) -> Callable[[Any], Any]:
    """Every answer's first vector becomes another."""

    def change(answer: Any) -> Any:
        answer["data"][0]["embedding"] = value
        return answer

    return change


def shortened(answer: Any) -> Any:
    for entry in answer["data"]:
        entry["embedding"] = [1.0, 2.0]
    return answer


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_vector([1.0] * 7 + [math.nan]), "not finite"),
        (change_vector([1.0] * 7 + [math.inf]), "not finite"),
        (change_vector([0.0] * 8), "all zero"),
        (change_vector([None] * 8), "not lists of numbers"),
        (change_vector(["NaN"] * 8), "not lists of numbers"),
        (change_vector([]), "not"),
        (change_vector("!!!"), "not base64"),
        (change_vector("AAAA"), "not base64"),
        (shortened, "dimensions now"),
        (lambda answer: {**answer, "data": answer["data"] * 2}, "2 entries, expected 1"),
        (lambda answer: {**answer, "data": []}, "0 entries, expected 1"),
        (lambda answer: {**answer, "data": None}, "no list"),
        (lambda answer: {"data": [{**answer["data"][0], "index": 3}]}, "indices"),
        (lambda answer: [], "has no 'data'"),
        (lambda answer: {**answer, "model": "m-next"}, "changed its model: it calls it 'm-next' now"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(
    remote: Remote, make: Make, time: FakeTime, change: Callable[[Any], Any], said: str
) -> None:
    remote.change = change
    with pytest.raises(RemoteMismatch, match=f"model mine: 127.*{said}"):
        encode(make())
    assert len(remote.asked) == 1
    assert time.slept == []


def test_a_key_and_a_text_never_come_back_in_an_error(remote: Remote, make: Make) -> None:
    echo = {"error": {"message": f"Bad key {TOKEN} for {TEXT!r}\n\x1b[31m" + "x" * 999}}
    remote.faults.append(status(400, echo))
    with pytest.raises(InvalidInput) as caught:
        encode(make())
    message = caught.value.message
    assert "answered 400: Bad key [...] for '[...]' [31mxxx" in message
    assert len(message) < 400
    assert "\n" not in message
    assert "\x1b" not in message


def test_errors_name_the_host_and_not_the_key(remote: Remote, make: Make) -> None:
    remote.faults.append(status(401, {"error": "who?"}))
    encoder = make(token=TOKEN)
    with pytest.raises(RemoteRefused) as caught:
        encode(encoder)
    host = remote.url.removeprefix("http://")
    advice = "check token, or access_key and secret_key, in the model's settings"
    assert caught.value.message == f"model mine: {host} answered 401: who? ({advice})"


def test_the_breaker_opens_and_closes_again(remote: Remote, make: Make, time: FakeTime) -> None:
    encoder = make(attempts=10, deadline_seconds=600)
    _ = encoder.dimension
    remote.faults.extend([status(500)] * 10)
    with pytest.raises(RemoteUnavailable, match="given up"):
        encode(encoder)
    asked = len(remote.asked)
    with pytest.raises(
        RemoteUnavailable, match="failed 10 times in a row, the last time it answered 500; it is left alone"
    ) as caught:
        encode(encoder)
    assert len(remote.asked) == asked  # nothing was sent
    assert caught.value.retry_after == pytest.approx(15)
    time.seconds += 15
    np.testing.assert_allclose(encode(encoder), remote.unit(TEXT), atol=1e-6)
    encode(encoder)


def test_a_quota_error_does_not_open_the_breaker(remote: Remote, make: Make) -> None:
    encoder = make(attempts=1)
    _ = encoder.dimension
    remote.faults.extend([status(429)] * 12)
    for _ in range(12):
        with pytest.raises(RemoteUnavailable, match="answered 429"):
            encode(encoder)
    encode(encoder)


def test_the_first_failure_ends_the_other_batches(remote: Remote, make: Make) -> None:
    """One batch is refused at once; those behind it are not sent, and the one that waits to retry stops waiting."""
    encoder = make(real=True, batch_items=2, concurrency=2, deadline_seconds=30)
    _ = encoder.dimension
    remote.faults.extend([later(0.2, status(503, Retry_After="20")), later(0.6, status(401))])
    began = real_time.monotonic()
    with pytest.raises(RemoteRefused, match="answered 401"):
        encoder.encode([Prompt.of(f"text {i}") for i in range(40)], Representation.DOCUMENT, priority=Priority.BULK)
    assert real_time.monotonic() - began < 15
    assert len(remote.asked) < 40
