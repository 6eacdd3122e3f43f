"""Which model answers is asked once, and noticed when it changes: at the start, in every batch, every few minutes."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.errors import ModelError, RemoteMismatch
from core.protocols import Priority
from core.records import Representation
from embedder.remote.identity import PROBE_TEXT
from tests.embedder.remote.conftest import APIS, TOKENIZER, Make, ingest, prompts
from tests.embedder.remote.server import Remote
from tests.embedder.remote.world import FakeTime


def test_many_threads_ask_once_who_is_there(remote: Remote, make: Make) -> None:
    remote.delay = lambda request: 0.05
    encoder = make(real=True)
    gate = threading.Barrier(8, timeout=60)

    def ask(_: int) -> tuple[str, int]:
        gate.wait()
        return encoder.fingerprint, encoder.dimension

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert len(remote.received) == 1


def test_who_is_there_is_asked_again_after_a_failure(remote: Remote, make: Make, time: FakeTime) -> None:
    remote.version = ""
    encoder = make(dimension=9)
    with pytest.raises(RemoteMismatch, match="gives 8 dimensions, its configuration says 9"):
        _ = encoder.fingerprint
    with pytest.raises(RemoteMismatch, match="gives 8 dimensions"):
        _ = encoder.dimension
    assert len(remote.received) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"revision": "2"},
        {"compress_to": 8},
        {"max_tokens": 100},
        {"prefixes": {Representation.QUERY: "q: "}},
        {"tokenizer": TOKENIZER},
        {"api": "aleph_alpha"},
    ],
)
def test_the_fingerprint_depends_on_what_a_vector_depends_on(make: Make, change: dict[str, object]) -> None:
    assert make().fingerprint == make(batch_items=2, attempts=1).fingerprint
    assert make(**change).fingerprint != make().fingerprint


def test_the_fingerprint_depends_on_the_version_and_not_on_noise(remote: Remote, make: Make) -> None:
    first = make().fingerprint
    remote.noise = 0.005
    assert make().fingerprint == first
    remote.version = "2026-02"
    assert make().fingerprint != first


def test_noise_is_no_change(remote: Remote, make: Make) -> None:
    remote.noise = 0.003
    encoder = make(batch_items=4)
    for _ in range(5):
        ingest(encoder, prompts(20))


@pytest.mark.parametrize("api", APIS)
def test_a_model_that_changes_without_a_word_is_noticed_with_the_next_batch(
    remote: Remote, make: Make, api: str
) -> None:
    encoder = make(api=api, batch_items=4, concurrency=1)
    ingest(encoder, prompts(9))
    remote.seed = 2
    with pytest.raises(RemoteMismatch, match="changed its model: the probe's vector has cosine"):
        ingest(encoder, prompts(9))
    with pytest.raises(RemoteMismatch, match=r"change the setting models\.mine\.revision"):
        encoder.encode(prompts(1), Representation.DOCUMENT)  # queries are checked from now on
    remote.seed = 1
    ingest(encoder, prompts(9))


def test_a_change_in_the_midst_of_ingest_is_noticed(remote: Remote, make: Make) -> None:
    encoder = make(batch_items=3, concurrency=1)

    def changing(done: int) -> None:
        remote.seed = 2

    with pytest.raises(RemoteMismatch, match="changed its model"):
        encoder.encode(prompts(10), Representation.DOCUMENT, priority=Priority.BULK, progress=changing)


def test_queries_alone_are_checked_every_few_minutes(remote: Remote, make: Make, time: FakeTime) -> None:
    encoder = make()
    encoder.encode(prompts(1), Representation.SYMMETRIC)
    remote.seed = 2
    time.seconds += 599
    encoder.encode(prompts(1), Representation.SYMMETRIC)
    assert PROBE_TEXT not in remote.asked[-1].texts
    time.seconds += 2
    with pytest.raises(RemoteMismatch, match="changed its model"):
        encoder.encode(prompts(1), Representation.SYMMETRIC)


def test_another_version_is_noticed_with_the_next_answer(remote: Remote, make: Make) -> None:
    encoder = make(api="aleph_alpha")
    encoder.encode(prompts(1), Representation.QUERY)
    remote.version = "2026-02"
    with pytest.raises(RemoteMismatch, match="it calls it '2026-02' now, and '2026-01' before"):
        encoder.encode(prompts(1), Representation.QUERY)


def test_a_model_that_changed_between_two_starts_is_noticed(remote: Remote, make: Make, tmp_path: Path) -> None:
    file = tmp_path / "new" / "pins.json"
    before = make(pin_file=file)
    ingest(before, prompts(1))
    assert set(json.loads(file.read_text())[before.fingerprint]) == {"symmetric", "document"}
    assert make(pin_file=file).fingerprint == before.fingerprint
    remote.seed = 2
    with pytest.raises(RemoteMismatch, match="changed its model"):
        _ = make(pin_file=file).fingerprint
    assert make(pin_file=file, revision="2").fingerprint != before.fingerprint
    remote.seed = 1
    ingest(make(pin_file=file), prompts(1))
    assert not list(file.parent.glob("*.tmp"))


@pytest.mark.parametrize("content", ["[]", "{", '{"%s": 7}', '{"%s": {"document": ["x"]}}', '{"%s": {"any": [1.0]}}'])
def test_a_pin_file_that_is_none(remote: Remote, make: Make, tmp_path: Path, content: str) -> None:
    file = tmp_path / "pins.json"
    file.write_text(content.replace("%s", make().fingerprint))
    with pytest.raises(ModelError, match="pin file"):
        _ = make(pin_file=file).dimension
