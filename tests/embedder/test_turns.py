"""The line in front of a backbone: who is served when, and that nobody feels the others. Real threads, real models."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import FrameType

import numpy as np
import pytest
import torch
from torch import Tensor

import embedder.place
from core.current import Awaited, awaited
from core.errors import Abandoned
from core.protocols import Priority, RanBatch
from core.records import Float32Array, Int64Array
from embedder.backbone import Backbone, KeyFactors
from embedder.bert import load_bert
from embedder.place import Place
from embedder.precision import Precision
from embedder.turns import Turns
from tests import waiting as waits
from tests.embedder.tiny import save_tiny_model

BROKEN = 39  # a token on which the recording backbone fails
LONGEST = 120.0  # seconds that no test comes near
until = partial(waits.until, seconds=LONGEST)


class Recording:
    """A real backbone that notes which texts it computes together, and can be held up before a forward pass."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self.width = backbone.width
        self.device = backbone.device
        self.precision = backbone.precision
        self.attention_problem = backbone.attention_problem
        self.batches: list[list[list[int]]] = []
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.open.set()

    def hidden(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> Tensor:
        self.batches.append([text.tolist() for text in ids])
        self.entered.release()
        assert self.open.wait(LONGEST)
        if any(BROKEN in text for text in ids):
            raise RuntimeError("a token that breaks the model")
        return self._backbone.hidden(ids, factors)

    def layers(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> list[Tensor]:
        return self._backbone.layers(ids, factors)

    def word_vectors(self, ids: Int64Array) -> Float32Array:
        return self._backbone.word_vectors(ids)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Within the block no forward pass gets on."""
        self.open.clear()
        try:
            yield
        finally:
            self.open.set()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    found = load_bert(save_tiny_model(tmp_path_factory.mktemp("model") / "m"), torch.device("cpu"), Precision.FP32)
    assert found is not None
    return found


@pytest.fixture
def recording(network: Backbone) -> Recording:
    return Recording(network)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a second passes quickly."""
    monkeypatch.setattr(embedder.place, "PATIENCE_SECONDS", LONGEST)


def text(*ids: int) -> Int64Array:
    return np.array([2, *ids, 3], dtype=np.int64)


def waiting(turns: Turns) -> int:
    return sum(turns.waiting().values())


class Interruption:
    """As Ctrl-C in the main thread, once."""

    def __init__(self) -> None:
        self._over = False

    def arrives(self, number: int, frame: FrameType | None) -> None:
        if not self._over:
            self._over = True
            raise KeyboardInterrupt

    @contextmanager
    def felt(self) -> Iterator[None]:
        """By the block, and by nothing behind it."""
        try:
            with pytest.raises(KeyboardInterrupt):
                yield
        finally:
            self._over = True

    def send(self) -> None:
        """Until it is felt: one that comes in the moment before a thread sleeps at a lock does not wake it."""
        ident = threading.main_thread().ident
        assert ident is not None
        while not self._over:
            signal.pthread_kill(ident, signal.SIGINT)
            time.sleep(0.01)


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    """Ends behind `callers`, one of which sends it."""
    made = Interruption()
    before = signal.signal(signal.SIGINT, made.arrives)
    yield made
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def callers(interruption: Interruption) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def in_line(
    turns: Turns, callers: ThreadPoolExecutor, requests: Sequence[tuple[Int64Array, Priority]]
) -> list[Future[Tensor]]:
    """One caller for each request, in this order."""
    found = []
    for ids, priority in requests:
        before = waiting(turns)
        found.append(callers.submit(turns.hidden, [ids], None, priority))
        until(lambda before=before: waiting(turns) == before + 1)  # type: ignore[misc]
    return found


def test_a_lone_caller_is_served_at_once(recording: Recording) -> None:
    ids = [text(5, 6), text(7)]
    found = Turns(recording, 100).hidden(ids, None)
    assert torch.equal(found, recording.hidden(ids))
    assert recording.batches == [[[2, 5, 6, 3], [2, 7, 3]]] * 2


def test_queries_go_before_bulk_and_bulk_before_nice(recording: Recording, callers: ThreadPoolExecutor) -> None:
    turns = Turns(recording, 100)
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
    turns = Turns(recording, 8)
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
    place = Place()
    new, old = Recording(network), Recording(network)
    filling, searching = Turns(new, 8, place), Turns(old, 8, place)
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
    monkeypatch.setattr(embedder.place, "PATIENCE_SECONDS", 0.1)
    place = Place()
    queries = Turns(Recording(network), 100, place)
    passages = queries if together else Turns(Recording(network), 100, place)
    over = threading.Event()

    def search() -> None:
        with queries.staying(Priority.INTERACTIVE):
            while not over.is_set():
                queries.hidden([text(30)], None)

    searching = [callers.submit(search) for _ in range(3)]
    until(lambda: place._staying[Priority.INTERACTIVE] == len(searching))
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
    turns = Turns(recording, 9)
    requests = [text(i) for i in (11, 12, 13, 14, 15)] + [text(*range(20, 30)), text(16)]
    with recording.held_up():
        running = callers.submit(turns.hidden, [text(10)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        late = in_line(turns, callers, [(ids, Priority.INTERACTIVE) for ids in requests])
    for future in (running, *late):
        future.result(LONGEST)
    assert [[ids[1] for ids in batch] for batch in recording.batches] == [[10], [11, 12, 13], [14, 15], [20], [16]]


def test_a_lone_nice_caller_gets_on(recording: Recording) -> None:
    assert len(Turns(recording, 9).hidden([text(5)], None, Priority.NICE)) == 3


def test_a_batch_is_sorted_by_length_and_results_find_their_callers(
    recording: Recording, network: Backbone, callers: ThreadPoolExecutor
) -> None:
    turns = Turns(recording, 1000)
    several = [[text(5), text(6, 7, 8)], [text(9, 10)], [text(11, 12, 13, 14), text(15)]]
    factors = KeyFactors(values=torch.tensor([1.0, 0.1, 4.0, 1.0]), log_additive=True)
    with recording.held_up():
        running = callers.submit(turns.hidden, [text(4)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        late = []
        for ids in several:
            late.append(callers.submit(turns.hidden, ids, factors if ids is several[1] else None))
            until(lambda: waiting(turns) == len(late) + 1)  # awaited in the same round
    running.result(LONGEST)
    for ids, future in zip(several, late, strict=True):
        alone = network.hidden(ids, factors if ids is several[1] else None)
        assert torch.allclose(future.result(LONGEST), alone, atol=1e-5)
    assert [len(ids) for ids in recording.batches[1]] == [6, 5, 4, 3, 3]
    assert not torch.allclose(late[1].result(), network.hidden(several[1]), atol=1e-3)


def test_two_formulas_of_steering_do_not_share_a_batch(
    recording: Recording, network: Backbone, callers: ThreadPoolExecutor
) -> None:
    turns = Turns(recording, 1000)
    forms = [KeyFactors(values=torch.tensor([1.0, 3.0, 1.0]), log_additive=additive) for additive in (True, False)]
    with recording.held_up():
        running = callers.submit(turns.hidden, [text(4)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        late = []
        for form in forms:
            late.append(callers.submit(turns.hidden, [text(9)], form))
            until(lambda: waiting(turns) == len(late) + 1)  # awaited in the same round
    running.result(LONGEST)
    for form, future in zip(forms, late, strict=True):
        assert torch.allclose(future.result(LONGEST), network.hidden([text(9)], form), atol=1e-5)
    assert len(recording.batches) == 3


def test_an_error_reaches_its_own_caller_only(
    recording: Recording, network: Backbone, callers: ThreadPoolExecutor
) -> None:
    turns = Turns(recording, 1000)
    with recording.held_up():
        running = callers.submit(turns.hidden, [text(4)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        late = in_line(turns, callers, [(text(i), Priority.INTERACTIVE) for i in (5, BROKEN, 6)])
    running.result(LONGEST)
    assert torch.allclose(late[0].result(LONGEST), network.hidden([text(5)]), atol=1e-5)
    assert torch.allclose(late[2].result(LONGEST), network.hidden([text(6)]), atol=1e-5)
    with pytest.raises(RuntimeError, match="breaks the model"):
        late[1].result(LONGEST)
    assert len(turns.hidden([text(7)], None)) == 3


def test_a_caller_that_is_interrupted_while_it_waits_leaves_the_line(
    recording: Recording, callers: ThreadPoolExecutor, interruption: Interruption
) -> None:
    turns = Turns(recording, 9)

    def interrupt() -> None:
        until(lambda: waiting(turns) == 2)
        interruption.send()

    with recording.held_up():
        running = callers.submit(turns.hidden, [text(4)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        with interruption.felt():
            callers.submit(interrupt)
            turns.hidden([text(20)], None)
        assert waiting(turns) == 1
        late = in_line(turns, callers, [(text(5), Priority.INTERACTIVE)])
    for future in (running, *late):
        assert len(future.result(LONGEST)) == 3
    assert [[ids[1] for ids in batch] for batch in recording.batches] == [[4], [5]]


def test_a_caller_that_is_interrupted_at_work_blocks_nobody(
    recording: Recording, callers: ThreadPoolExecutor, interruption: Interruption
) -> None:
    """The main thread runs a batch for two; it is interrupted, and the other is served all the same."""
    turns = Turns(recording, 1000)
    late: list[Future[Tensor]] = []

    def interrupt() -> None:
        assert recording.entered.acquire(timeout=LONGEST)
        late.extend(in_line(turns, callers, [(text(i), Priority.INTERACTIVE) for i in (5, 6)]))
        interruption.send()

    with recording.held_up(), interruption.felt():
        callers.submit(interrupt)
        turns.hidden([text(4)], None)
    for future in late:
        assert len(future.result(LONGEST)) == 3
    assert waiting(turns) == 0


def test_nobody_starves_under_load(recording: Recording, network: Backbone, callers: ThreadPoolExecutor) -> None:
    """Eight threads, all priorities, steered and not: everyone is served, with the vectors that they get alone."""
    turns = Turns(recording, 48)
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
    turns = Turns(recording, 100)
    with turns.staying(Priority.INTERACTIVE):
        nice = callers.submit(turns.hidden, [text(5)], None, Priority.NICE)
        until(lambda: waiting(turns) == 1)
        for id in (6, 7):
            turns.hidden([text(id)], None)
        time.sleep(0.05)  # the nice one finds the line empty, and waits all the same
        assert not nice.done()
    nice.result(LONGEST)
    assert recording.batches == [[[2, 6, 3]], [[2, 7, 3]], [[2, 5, 3]]]


def test_layers_are_shown_in_a_batch_of_their_own(recording: Recording, callers: ThreadPoolExecutor) -> None:
    turns = Turns(recording, 100)
    with recording.held_up():
        first = callers.submit(turns.hidden, [text(5)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        shown = callers.submit(turns.layers, text(6), None, Priority.INTERACTIVE)
        until(lambda: waiting(turns) == 2)
        last = callers.submit(turns.hidden, [text(7)], None)
        until(lambda: waiting(turns) == 3)
    found = shown.result(LONGEST)
    assert torch.equal(torch.stack(found), torch.stack(recording.layers([text(6)])))
    assert [len(future.result(LONGEST)) for future in (first, last)] == [3, 3]
    assert recording.batches == [[[2, 5, 3]], [[2, 7, 3]]]


def test_while_queries_come_the_batches_of_others_are_small(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("embedder.turns.time.monotonic", lambda: now)
    turns = Turns(recording, 100)
    assert [turns.room(priority) for priority in Priority] == [100, 100, 100]
    turns.hidden([text(5)], None, Priority.BULK)
    assert turns.room(Priority.BULK) == 100
    turns.hidden([text(5)], None)
    assert [turns.room(priority) for priority in Priority] == [100, 25, 25]
    now += 0.9
    assert turns.room(Priority.BULK) == 25
    now += 0.2
    assert turns.room(Priority.BULK) == 100


def test_nothing_is_computed_for_callers_that_left(recording: Recording, callers: ThreadPoolExecutor) -> None:
    turns, leaving = Turns(recording, 9), Awaited()

    def of_one_who_leaves() -> Tensor:
        with awaited(leaving):
            return turns.hidden([text(8)], None)

    with recording.held_up():
        [first] = in_line(turns, callers, [(text(5, 6, 7, 8, 9), Priority.INTERACTIVE)])
        until(lambda: len(recording.batches) == 1)
        gone = callers.submit(of_one_who_leaves)
        until(lambda: waiting(turns) == 2)
        [last] = in_line(turns, callers, [(text(9), Priority.INTERACTIVE)])
        leaving.give_up()
    assert len(first.result(LONGEST)) == 7
    assert len(last.result(LONGEST)) == 3
    with pytest.raises(Abandoned):
        gone.result(LONGEST)
    assert [2, 8, 3] not in [ids for batch in recording.batches for ids in batch]
    assert turns.waiting() == dict.fromkeys(Priority, 0)


def test_every_batch_is_told_to_the_observer(recording: Recording, callers: ThreadPoolExecutor) -> None:
    turns, told = Turns(recording, 100), list[RanBatch]()
    turns.observe(told.append)
    with recording.held_up():
        first = in_line(turns, callers, [(text(5), Priority.INTERACTIVE)])
        until(lambda: len(recording.batches) == 1)
        others = in_line(turns, callers, [(text(6, 7), Priority.BULK), (text(8), Priority.BULK)])
        assert turns.waiting() == {Priority.INTERACTIVE: 1, Priority.BULK: 2, Priority.NICE: 0}
    for caller in (*first, *others):
        caller.result(LONGEST)
    assert [(one.priority, one.texts, one.tokens) for one in told] == [
        (Priority.INTERACTIVE, 1, 3),
        (Priority.BULK, 2, 7),
    ]
    assert all(one.seconds > 0 for one in told)
