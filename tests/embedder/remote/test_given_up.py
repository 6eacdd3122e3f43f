"""What is asked for an answer that nobody waits for any more: nothing further is sent, and no wait goes on."""

from __future__ import annotations

import threading
from pathlib import Path
from time import monotonic, sleep

import pytest

from core.context import Awaited, awaited
from core.errors import Abandoned
from core.records import Representation
from indexer.preemption import preemptible, preempting
from tests.embedder.remote.conftest import Make, ingest, prompts
from tests.embedder.remote.server import Received, Remote, status
from tests.waiting import until


def test_a_portion_at_a_remote_gives_way_after_the_batches_in_flight(
    remote: Remote, make: Make, tmp_path: Path
) -> None:
    remote.delay = lambda request: 0.2
    encoder = make(real=True, batch_items=2, concurrency=2)
    ended: list[type[BaseException] | None] = []

    def work() -> None:
        with preemptible(tmp_path) as portion, awaited(portion):
            try:
                ingest(encoder, prompts(200))  # 20 s of requests
                ended.append(None)
            except Abandoned as error:
                ended.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: len(remote.asked) >= 4)
    began = monotonic()
    with preempting(tmp_path):
        assert monotonic() - began < 10
        assert ended == [Abandoned]
        sent = len(remote.asked)
        sleep(0.3)
        assert len(remote.asked) == sent
    thread.join()


def test_a_wait_for_the_next_try_is_given_up(remote: Remote, make: Make) -> None:
    encoder = make(real=True)
    _ = encoder.dimension
    remote.faults.append(status(503, Retry_After="20"))
    answer = Awaited()
    threading.Timer(0.3, answer.give_up).start()
    began = monotonic()
    with awaited(answer), pytest.raises(Abandoned):
        encoder.encode(prompts(1), Representation.QUERY)
    assert 0.25 < monotonic() - began < 15
    assert len(remote.asked) == 1


def test_a_wait_for_a_turn_of_ingest_is_given_up(remote: Remote, make: Make) -> None:
    encoder = make(real=True, concurrency=1)
    _ = encoder.dimension
    answered = threading.Event()

    def later(request: Received) -> float:
        answered.wait(60)
        return 0.0

    remote.delay = later
    other = threading.Thread(target=ingest, args=(encoder, prompts(1)))
    other.start()
    until(lambda: len(remote.asked) == 1)
    with awaited(Awaited(monotonic() + 0.3)), pytest.raises(Abandoned):
        ingest(encoder, prompts(1))
    assert other.is_alive(), "the other one has its turn still"
    answered.set()
    other.join()
    assert len(remote.asked) == 1


def test_an_answer_that_is_given_up_already_is_not_asked_for(remote: Remote, make: Make) -> None:
    encoder = make(real=True)
    with awaited(Awaited(monotonic())), pytest.raises(Abandoned):
        encoder.encode(prompts(1), Representation.QUERY)
    assert not remote.received
