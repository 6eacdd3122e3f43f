"""Milvus as the engine: its limits, its failures, and what becomes of them."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest

from core.context import Awaited, awaited
from core.errors import Abandoned, IndexMissing, IndexUnavailable, InvalidSettings
from store.passageindex import milvus as module
from store.passageindex.milvus import Milvus
from store.passageindex.protocol import Entries, SparseRows, Weights
from store.passageindex.rows import LISTED_MOST, blocks
from tests.milvus import MilvusServer
from tests.store.passageindex.samples import DIMENSION, by_id, everything, some_entries, some_rows
from tests.waiting import until


@pytest.fixture(autouse=True)
def _calm() -> None:
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


@pytest.fixture(scope="module")
def index(milvus: MilvusServer) -> Iterator[Milvus]:
    found = Milvus(milvus.uri)
    yield found
    found.close()


def test_it_names_the_engine(index: Milvus) -> None:
    assert index.check() == "Milvus milvus_lite-3.2.2"


def test_one_that_was_left_half_made_is_completed(index: Milvus, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Milvus, *_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Milvus, "_index", stop)
        with pytest.raises(KeyboardInterrupt):
            index.create(name, DIMENSION, learned=True)
    index.create(name, DIMENSION, learned=True)
    entries = some_entries(30, seed=11)
    index.put(name, entries)
    assert index.nearest(name, entries.vectors[4], 1).tolist() == [entries.ids[4]]


MISSING: list[Callable[[Milvus, str], object]] = [
    lambda index, name: index.put(name, some_entries(3, seed=0)),
    lambda index, name: index.count(name),
    lambda index, name: index.remove(name, np.array([1])),
    lambda index, name: index.nearest(name, np.ones(DIMENSION, dtype=np.float32), 3),
    lambda index, name: index.matching(name, Weights.BM25, np.array([1], np.int32), np.ones(1, np.float32), 3),
    lambda index, name: index.holding(name, Weights.LEARNED, np.array([1], np.int32)),
    lambda index, name: list(index.entries(name)),
]


@pytest.mark.parametrize("ask", MISSING)
def test_one_that_is_not_there(
    index: Milvus, name: str, ask: Callable[[Milvus, str], object], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(IndexMissing) as caught:
        ask(index, name)
    assert name not in caught.value.message
    for setting in ("SALIENCE_MILVUS__URI", "SALIENCE_MILVUS__DATABASE"):
        assert setting in caught.value.message, "it may be another Milvus"
    assert name in caplog.text
    assert "Milvus at http://127.0.0.1:" in caplog.text, "where it was looked for"


def test_a_passage_with_more_terms_than_are_listed(index: Milvus, name: str) -> None:
    count = LISTED_MOST + 500
    rows = SparseRows(
        offsets=np.array([0, count, count + 1, count + 1 + LISTED_MOST]),
        ids=np.concatenate([np.arange(1, count + 1), [7], np.arange(1, LISTED_MOST + 1)]).astype(np.int32),
        weights=np.linspace(1, 2, count + 1 + LISTED_MOST, dtype=np.float32),
    )
    entries = Entries(ids=np.array([1, 2, 3]), vectors=np.eye(3, DIMENSION, dtype=np.float32), bm25=rows, learned=None)
    index.create(name, DIMENSION, learned=False)
    index.put(name, entries)
    assert everything(index, name) == by_id(entries)
    assert sorted(index.holding(name, Weights.BM25, np.array([count], np.int32)).tolist()) == [1]
    assert sorted(index.holding(name, Weights.BM25, np.array([LISTED_MOST], np.int32)).tolist()) == [1, 3]
    assert sorted(index.holding(name, Weights.BM25, np.array([7], np.int32)).tolist()) == [1, 2, 3]
    assert sorted(index.holding(name, Weights.BM25, np.array([90_000], np.int32)).tolist()) == [1]  # it may name more
    one = np.ones(1, np.float32)
    assert index.matching(name, Weights.BM25, np.array([count], np.int32), one, 9).tolist() == [1]


def test_blocks_fit_a_message() -> None:
    """Whatever the dimension, and with as many weights as a passage can have."""
    wide = Entries(
        ids=np.arange(40),
        vectors=np.zeros((40, 32_768), dtype=np.float32),
        bm25=some_rows(np.random.default_rng(0), 40, least=1),
        learned=SparseRows(
            offsets=np.arange(41) * 50_000,
            ids=np.tile(np.arange(50_000, dtype=np.int32), 40),
            weights=np.ones(40 * 50_000, dtype=np.float32),
        ),
    )
    found = list(blocks(wide))
    assert [row["id"] for block in found for row in block] == list(range(40))
    assert 2 <= len(found) < 40
    assert all(len(block) * (4 * 32_768 + 8 * 50_000 + 10 * LISTED_MOST) < 2**25 for block in found)
    assert list(blocks(some_entries(0, seed=0))) == []


def test_an_outage_in_use(mortal_milvus: MilvusServer, caplog: pytest.LogCaptureFixture) -> None:
    index = Milvus(mortal_milvus.uri, timeout_seconds=30.0)
    entries = some_entries(200, seed=12)
    index.create("kept", DIMENSION, learned=True)
    index.put("kept", entries)
    mortal_milvus.kill()
    asks: list[Callable[[Milvus, str], object]] = [
        *MISSING,
        lambda index, name: index.check(),
        lambda index, name: index.create(name, 3, learned=False),
    ]
    for ask in asks:
        begun = time.monotonic()
        with pytest.raises(IndexUnavailable) as caught:
            ask(index, "kept")
        assert time.monotonic() - begun < 20.0, "told at once, without another try"
        assert not isinstance(caught.value, IndexMissing)
        assert str(mortal_milvus.port) not in caught.value.message
        assert "SALIENCE_MILVUS__URI" in caught.value.message
    assert str(mortal_milvus.port) in caplog.text
    mortal_milvus.start()
    until(lambda: answers(index), 60.0)
    assert everything(index, "kept") == by_id(entries)
    assert index.nearest("kept", entries.vectors[3], 1).tolist() == [entries.ids[3]]
    index.close()


def test_one_that_stops_answering(mortal_milvus: MilvusServer) -> None:
    """Nobody waits for longer than the limit, however many ask, and all get answers when it goes on."""
    index = Milvus(mortal_milvus.uri, timeout_seconds=2.0)
    index.create("kept", DIMENSION, learned=False)
    mortal_milvus.freeze()
    try:
        assert max(ask_at_once(index, 8)) < 10.0, "not one after the other"
        rounds = (sorted(ask_at_once(index, 8)) for _ in range(6))
        assert any(took[-2] < 1.0 < took[-1] for took in rounds), "one alone waits: whoever else asks is told at once"
    finally:
        mortal_milvus.thaw()
    until(lambda: answers(index), 60.0)
    begun = time.monotonic()
    threads = [threading.Thread(target=index.count, args=["kept"]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 10.0
    index.close()


def test_a_slow_answer_is_no_silence(milvus: MilvusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are answered meanwhile: one that takes too long keeps nobody from asking."""
    index = Milvus(milvus.uri, timeout_seconds=2.0)
    index.check()
    ask = index._client.list_indexes

    def late(*_: object, **options: float) -> object:
        time.sleep(options["timeout"])
        index.check()
        time.sleep(0.1)
        raise index._library.MilvusException(message="too late")

    monkeypatch.setattr(index._client, "list_indexes", late)
    with pytest.raises(IndexUnavailable):
        index.create("slow", DIMENSION, learned=False)
    monkeypatch.setattr(index._client, "list_indexes", ask)
    with index._silence.broken(), index._silence.broken():
        assert index.check()
    index.drop("slow")
    index.close()


def test_an_address_where_nobody_answers() -> None:
    """It takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = Milvus(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.5)
        assert max(ask_at_once(index, 20)) < 8.0, "not one after the other"
        index.close()


def test_a_connection_that_breaks_under_many(mortal_milvus: MilvusServer) -> None:
    """Nobody waits for the others to try to connect anew, one after the other."""
    with Relay(mortal_milvus.port) as relay:
        index = Milvus(f"http://127.0.0.1:{relay.port}", timeout_seconds=2.0)
        index.check()
        mortal_milvus.freeze()
        breaking = threading.Timer(0.5, relay.cut)
        breaking.start()
        assert max(ask_at_once(index, 6)) < 9.0
        breaking.join()
        index.close()


class Relay:
    """Passes on what it is sent, until it is cut; takes connections afterwards, too, and says nothing."""

    def __init__(self, port: int) -> None:
        self._towards = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        self._cut.set()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._cut.is_set():
                near, _ = self._listener.accept()
                if not self._cut.is_set():
                    far = socket.create_connection(("127.0.0.1", self._towards))
                    self._ends += [near, far]
                    for source, sink in ((near, far), (far, near)):
                        threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with source, suppress(OSError):
            while data := source.recv(2**16):
                sink.sendall(data)


def ask_at_once(index: Milvus, count: int) -> list[float]:
    """Seconds that each took until IndexUnavailable."""
    took: list[float] = []

    def ask() -> None:
        begun = time.monotonic()
        try:
            index.check()
        except IndexUnavailable:
            took.append(time.monotonic() - begun)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == count
    return took


def answers(index: Milvus) -> bool:
    try:
        return bool(index.check())
    except IndexUnavailable:
        return False


def test_an_answer_that_nobody_waits_for(mortal_milvus: MilvusServer) -> None:
    index = Milvus(mortal_milvus.uri, timeout_seconds=30.0)
    index.check()
    mortal_milvus.freeze()
    try:
        begun = time.monotonic()
        with awaited(Awaited(begun + 0.5)), pytest.raises(IndexUnavailable):
            index.check()
        assert 0.4 < time.monotonic() - begun < 15.0
        with awaited(Awaited(begun)), pytest.raises(Abandoned):
            index.check()
    finally:
        mortal_milvus.thaw()
    index.close()


def test_what_was_closed_answers_no_more(milvus: MilvusServer) -> None:
    index = Milvus(milvus.uri)
    index.check()
    index.close()
    index.close()
    with pytest.raises(IndexUnavailable):
        index.check()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(InvalidSettings, match=r"pymilvus: in a checkout of Salience, pip install '\.\[milvus\]'"):
        Milvus("http://127.0.0.1:19530")
