"""The line in front of a backbone: who is served when. Real threads, real models."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import embedder.scheduling
from core.protocols import Priority
from core.records import Int64Array
from embedder.backbone import Backbone, KeyFactors
from embedder.microbatching import MicroBatcher
from embedder.scheduling import Scheduler
from tests.embedder.microbatching.recording import BROKEN, LONGEST, Recording, in_line, text, until, waiting


def test_a_lone_caller_is_served_at_once(recording: Recording) -> None:
    ids = [text(5, 6), text(7)]
    found = MicroBatcher(recording, 100).hidden(ids, None)
    assert torch.equal(found, recording.hidden(ids))
    assert recording.batches == [[[2, 5, 6, 3], [2, 7, 3]]] * 2


def test_queries_go_before_bulk_and_bulk_before_nice(recording: Recording, callers: ThreadPoolExecutor) -> None:
    turns = MicroBatcher(recording, 100)
    with recording.held_up():
        running = callers.submit(turns.hidden, [text(4)], None, Priority.NICE)
        assert recording.entered.acquire(timeout=LONGEST)
        late = in_line(
            turns,
            callers,
            [
                (text(10), Priority.NICE),
                (text(20), Priority.BULK),
                (text(30), Priority.INTERACTIVE),
                (text(11), Priority.NICE),
                (text(21), Priority.BULK),
                (text(31), Priority.INTERACTIVE),
            ],
        )
    for future in (running, *late):
        future.result(LONGEST)
    assert [[ids[1] for ids in batch] for batch in recording.batches] == [[4], [30, 31], [20, 21], [10, 11]]


def test_a_query_waits_for_the_running_batch_alone(recording: Recording, callers: ThreadPoolExecutor) -> None:
    """Bulk keeps coming; what the query finds running is finished, and it is next."""
    turns = MicroBatcher(recording, 8)
    with recording.held_up():
        bulk = in_line(turns, callers, [(text(10, 10, 10, 10), Priority.BULK) for _ in range(5)])
        assert recording.entered.acquire(timeout=LONGEST)
        query = in_line(turns, callers, [(text(30), Priority.INTERACTIVE)])
    for future in (*bulk, *query):
        future.result(LONGEST)
    assert [batch[0][1] for batch in recording.batches] == [10, 30, 10, 10, 10, 10]


def test_two_models_on_one_device_take_turns_and_queries_go_before_the_passages_of_either(
    network: Backbone, callers: ThreadPoolExecutor
) -> None:
    scheduler = Scheduler()
    new, old = Recording(network), Recording(network)
    filling, searching = MicroBatcher(new, 8, scheduler), MicroBatcher(old, 8, scheduler)
    assert filling.room(Priority.BULK) == 8

    def fill() -> None:
        with filling.staying(Priority.BULK):
            for _ in range(3):
                filling.hidden([text(10, 10, 10, 10)], None, Priority.BULK)

    def search() -> None:
        with searching.staying(Priority.INTERACTIVE):
            for _ in range(2):
                searching.hidden([text(30)], None)

    with old.held_up():
        with new.held_up():
            running = callers.submit(fill)
            assert new.entered.acquire(timeout=LONGEST)
            query = callers.submit(search)
            until(lambda: waiting(searching) == 1)
            time.sleep(0.05)
            assert not old.batches  # the device is taken
        assert old.entered.acquire(timeout=LONGEST)
        time.sleep(0.05)
        assert len(new.batches) == 1  # no second batch of passages goes before the queries
    for future in (query, running):
        future.result(LONGEST)
    assert (len(new.batches), len(old.batches)) == (3, 2)


@pytest.mark.parametrize("together", [True, False])
def test_queries_without_end_let_a_batch_of_others_pass_now_and_then(
    network: Backbone, callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    monkeypatch.setattr(embedder.scheduling, "PATIENCE_SECONDS", 0.1)
    scheduler = Scheduler()
    queries = MicroBatcher(Recording(network), 100, scheduler)
    passages = queries if together else MicroBatcher(Recording(network), 100, scheduler)
    over = threading.Event()

    def search() -> None:
        with queries.staying(Priority.INTERACTIVE):
            while not over.is_set():
                queries.hidden([text(30)], None)

    searching = [callers.submit(search) for _ in range(3)]
    until(lambda: scheduler._staying[Priority.INTERACTIVE] == len(searching))
    begun = time.monotonic()
    try:
        for _ in range(3):
            assert len(callers.submit(passages.hidden, [text(10)], None, Priority.BULK).result(LONGEST)) == 3
        took = time.monotonic() - begun
    finally:
        over.set()
    for future in searching:
        future.result(LONGEST)
    assert took >= 0.3  # and no more often than that


def test_first_come_first_served_within_the_budget(recording: Recording, callers: ThreadPoolExecutor) -> None:
    """Of the line 1 2 3 | 4 5 (3 tokens each, 9 a batch); a text above the budget goes alone."""
    turns = MicroBatcher(recording, 9)
    requests = [text(i) for i in (11, 12, 13, 14, 15)] + [text(*range(20, 30)), text(16)]
    with recording.held_up():
        running = callers.submit(turns.hidden, [text(10)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        late = in_line(turns, callers, [(ids, Priority.INTERACTIVE) for ids in requests])
    for future in (running, *late):
        future.result(LONGEST)
    assert [[ids[1] for ids in batch] for batch in recording.batches] == [[10], [11, 12, 13], [14, 15], [20], [16]]


def test_a_lone_nice_caller_gets_on(recording: Recording) -> None:
    assert len(MicroBatcher(recording, 9).hidden([text(5)], None, Priority.NICE)) == 3


def test_nobody_starves_under_load(recording: Recording, network: Backbone, callers: ThreadPoolExecutor) -> None:
    """Eight threads, all priorities, steered and not: everyone is served, with the vectors that they get alone."""
    turns = MicroBatcher(recording, 48)
    chosen = np.random.default_rng(5)
    requests = [
        (
            [text(*chosen.integers(4, BROKEN, chosen.integers(1, 6))) for _ in range(chosen.integers(1, 4))],
            Priority(int(chosen.integers(0, 3))),
            bool(chosen.integers(0, 2)),
        )
        for _ in range(120)
    ]

    def steered(ids: Sequence[Int64Array], wanted: bool) -> KeyFactors | None:
        tokens = sum(map(len, ids))
        return KeyFactors(values=torch.linspace(0.2, 2.0, tokens), log_additive=True) if wanted else None

    futures = [callers.submit(turns.hidden, ids, steered(ids, on), priority) for ids, priority, on in requests]
    for (ids, _, on), future in zip(requests, futures, strict=True):
        assert torch.allclose(future.result(LONGEST), network.hidden(ids, steered(ids, on)), atol=1e-5)
    assert waiting(turns) == 0
    assert len(recording.batches) < len(requests)  # some were computed together


def test_a_caller_is_not_overtaken_between_its_batches(recording: Recording, callers: ThreadPoolExecutor) -> None:
    turns = MicroBatcher(recording, 100)
    with turns.staying(Priority.INTERACTIVE):
        nice = callers.submit(turns.hidden, [text(5)], None, Priority.NICE)
        until(lambda: waiting(turns) == 1)
        for id in (6, 7):
            turns.hidden([text(id)], None)
        time.sleep(0.05)  # the nice one finds the line empty, and waits all the same
        assert not nice.done()
    nice.result(LONGEST)
    assert recording.batches == [[[2, 6, 3]], [[2, 7, 3]], [[2, 5, 3]]]


def test_while_queries_come_the_batches_of_others_are_small(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(embedder.scheduling, "time", SimpleNamespace(monotonic=lambda: now))
    turns = MicroBatcher(recording, 100)
    assert [turns.room(priority) for priority in Priority] == [100, 100, 100]
    turns.hidden([text(5)], None, Priority.BULK)
    assert turns.room(Priority.BULK) == 100
    turns.hidden([text(5)], None)
    assert [turns.room(priority) for priority in Priority] == [100, 25, 25]
    now += 0.9
    assert turns.room(Priority.BULK) == 25
    now += 0.2
    assert turns.room(Priority.BULK) == 100
