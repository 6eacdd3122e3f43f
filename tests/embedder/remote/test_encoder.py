"""The encoder as its callers see it: order, batches, concurrency, tokens, cuts."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.context import counted
from core.errors import InvalidInput, RemoteUnavailable
from core.prompts import Prompt, TextControl, TextItem
from core.protocols import Encoder, HybridEncoder, Priority
from core.records import Representation
from embedder.remote.encoder import RemoteHybridEncoder
from embedder.remote.exchange import spread
from embedder.remote.identity import PROBE_TEXT
from embedder.remote.names import TokenNames
from tests.embedder.remote.conftest import APIS, TOKENIZER, Make, ingest, prompts
from tests.embedder.remote.server import DIMENSION, Received, Remote, status
from tests.embedder.remote.world import FakeTime
from tests.waiting import until


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("priority", [Priority.INTERACTIVE, Priority.BULK])
def test_vectors_come_in_order_however_the_answers_do(remote: Remote, make: Make, api: str, priority: Priority) -> None:
    remote.delay = lambda request: 0.06 if "sentence number 0" in request.texts else 0.005 * (len(remote.received) % 3)
    encoder: Encoder = make(real=True, api=api, batch_items=4, concurrency=3)
    texts = [f"sentence number {i}" for i in range(25)]
    told: list[int] = []
    found = encoder.encode(prompts(25), Representation.DOCUMENT, priority=priority, progress=told.append)
    np.testing.assert_allclose(found.vectors, np.stack([remote.unit(text) for text in texts]), atol=1e-6)
    assert found.vectors.dtype == np.float32
    assert not found.truncated.any()
    assert sum(told) == 25
    assert len(told) == len(remote.asked) == 9  # batches of three and the probe


@pytest.mark.parametrize("count", [2, 25], ids=["one batch", "several"])
def test_what_a_remote_reads_is_counted_once_whoever_asks_it(make: Make, count: int) -> None:
    encoder, read = make(real=True, batch_items=4, concurrency=3), list[int]()
    with counted(read.append):
        found = encoder.encode(prompts(count), Representation.DOCUMENT)
    assert sum(read) == found.token_counts.sum() > 0


def test_what_a_remote_has_read_is_counted_although_another_batch_fails(remote: Remote, make: Make) -> None:
    first, second = (item.text for prompt in prompts(2) for item in prompt.items if isinstance(item, TextItem))

    def takes(request: Received) -> float:
        if second in request.texts:
            return 0.3
        until(lambda: any(second in other.texts for other in remote.asked))  # both are on their way
        return 0.0

    encoder, read = make(real=True, batch_items=2, concurrency=2), list[int]()
    alone = encoder.encode(prompts(2)[1:], Representation.QUERY).token_counts.sum()
    remote.received.clear()
    remote.delay, remote.refuses = takes, lambda request: first in request.texts
    with counted(read.append), pytest.raises(InvalidInput):
        encoder.encode(prompts(2), Representation.QUERY)
    assert sum(read) == alone > 0


def test_only_so_many_requests_of_ingest_are_in_flight_and_queries_pass_them(remote: Remote, make: Make) -> None:
    remote.delay = lambda request: 0.15 if "query" in request.texts else 0.1
    encoder = make(real=True, batch_items=2, concurrency=2)
    _ = encoder.dimension
    done: list[str] = []
    with ThreadPoolExecutor(3) as pool:
        bulk = [pool.submit(ingest, encoder, prompts(8)) for _ in range(2)]
        for future in bulk:
            future.add_done_callback(lambda _: done.append("ingest"))
        sleep(0.15)
        encoder.encode([Prompt.of("query")], Representation.QUERY)
        done.append("query")
    assert done == ["query", "ingest", "ingest"]
    assert remote.most_in_flight == 3  # two of ingest, of whichever call, and the query


def test_a_query_gets_one_deadline_for_all_its_batches_and_ingest_one_for_each(
    remote: Remote, make: Make, time: FakeTime
) -> None:
    def takes_two_seconds(request: Received) -> float:
        time.seconds += 2
        return 0.0

    remote.delay = takes_two_seconds
    encoder = make(batch_items=2, concurrency=1, deadline_seconds=5)
    _ = encoder.dimension
    began = time.seconds
    assert len(ingest(encoder, prompts(5)).vectors) == 5
    assert time.seconds - began >= 6
    began = time.seconds
    with pytest.raises(RemoteUnavailable):
        encoder.encode(prompts(9), Representation.QUERY)
    assert time.seconds - began == 6  # the third of five batches is late, and none follows


@pytest.mark.parametrize("api", APIS)
def test_nothing_to_embed(make: Make, api: str) -> None:
    encoder = make(api=api)
    assert encoder.encode([], Representation.QUERY).vectors.shape == (0, DIMENSION)
    assert encoder.trace(prompts(1), Representation.QUERY) is None


def test_batches_keep_to_the_tokens_of_a_request_and_of_the_quota(remote: Remote, make: Make, time: FakeTime) -> None:
    encoder = make(tokens_per_minute=1200, batch_tokens=150)
    spans = len(encoder.token_spans("sentence number 0")) + 2
    ingest(encoder, prompts(40))
    probe = len(encoder.token_spans(PROBE_TEXT)) + 2
    sizes = [len(request.texts) - 1 for request in remote.asked]
    assert sum(sizes) == 40
    assert max(sizes) == (150 - probe) // spans


def test_the_quota_is_waited_for(remote: Remote, make: Make, time: FakeTime) -> None:
    """6 a minute: one at once, then one every 12 s; the question who is there counts too."""
    encoder = make(requests_per_minute=6)
    for i in range(3):
        encoder.encode(prompts(i + 1), Representation.QUERY)
    assert time.slept == pytest.approx([12.0] * 3, rel=1e-6)


def test_a_quota_that_would_take_too_long_is_refused_at_once(make: Make, time: FakeTime) -> None:
    encoder = make(requests_per_minute=1, deadline_seconds=60)
    _ = encoder.dimension
    with pytest.raises(RemoteUnavailable, match="no quota left for 120 s") as caught:
        encoder.encode(prompts(1), Representation.QUERY)
    assert caught.value.retry_after == pytest.approx(120)
    assert time.slept == []


def test_tokens_that_were_reserved_in_vain_are_given_back(remote: Remote, make: Make, time: FakeTime) -> None:
    """The estimate is far above what the remote counts: only the latter is paid."""
    encoder = make(tokens_per_minute=600, deadline_seconds=600)
    _ = encoder.dimension
    for _ in range(15):
        encoder.encode([Prompt.of("incomprehensibilities " * 2)], Representation.QUERY)  # 2 tokens, estimated 18
    assert sum(time.slept) < 10


@pytest.mark.parametrize("api", APIS)
def test_a_count_of_tokens_that_cannot_be_is_not_believed(
    remote: Remote, make: Make, time: FakeTime, caplog: pytest.LogCaptureFixture, api: str
) -> None:
    """The estimate holds in its place, and the model is not stopped."""

    def mad(answer: Any) -> Any:
        holder = answer.get("usage") or answer.get("data", {}).get("token_usage") or answer
        for name in ("prompt_tokens", "total_tokens", "num_tokens_prompt_total"):
            if name in holder:
                holder[name] = 10**30
        return answer

    remote.change = mad
    encoder = make(api=api, tokens_per_minute=6000)
    for _ in range(3):
        found = encoder.encode(prompts(2), Representation.QUERY)
        assert found.token_counts.tolist() == [len(encoder.token_spans("sentence number 0")) + 2] * 2
    assert sum(time.slept) == 0
    assert [record.message.partition(": ")[2].partition(" ")[2] for record in caplog.records] == [
        "counts more tokens than can be"
    ]


@pytest.mark.parametrize("tokenizer", [None, TOKENIZER])
def test_what_is_too_long_is_cut_and_said_to_be(remote: Remote, make: Make, tokenizer: Path | None) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve"
    encoder = make(max_tokens=8, tokenizer=tokenizer, prefixes={Representation.QUERY: "q "})
    assert encoder.overhead(Representation.QUERY) == 3
    found = encoder.encode([Prompt.of(text), Prompt.of("one two")], Representation.QUERY)
    kept = "q one two three fou" if tokenizer is None else "q one two three four five"
    assert remote.asked[0].texts == [kept, "q one two"]
    assert found.truncated.tolist() == [True, False]
    if tokenizer is not None:
        assert found.token_counts.tolist() == [8, 5]
        assert encoder.token_spans("unbelievable")[-1].tolist() == [0, 12]


@pytest.mark.parametrize(
    ("said", "truncated"),
    [
        ("prompts[1]", [False, True]),
        ("prompts[0], prompts[1]", [True, True]),
        (f"prompts[{'1' * 5000}], prompts[1]", [False, True]),  # more digits than Python makes a number of
    ],
)
def test_what_the_remote_cut_is_said_to_be(remote: Remote, make: Make, said: str, truncated: list[bool]) -> None:
    encoder = make(api="aleph_alpha")
    encoder.encode([Prompt.of("one")], Representation.QUERY)
    remote.change = lambda answer: {**answer, "message": f"longer, so cut: {said}"}
    found = encoder.encode([Prompt.of("one"), Prompt.of("two")], Representation.QUERY)
    assert found.truncated.tolist() == truncated


def test_a_control_behind_the_cut_is_left_out(remote: Remote, make: Make) -> None:
    controls = (TextControl(start=0, length=3, factor=2), TextControl(start=10, length=3, factor=2))
    encoder = make(api="aleph_alpha", max_tokens=4)
    encoder.encode([Prompt.of("one two ten six", controls)], Representation.QUERY)
    item = remote.asked[0].body["prompt"][0]
    assert item["data"] == "one two"
    assert [control["start"] for control in item["controls"]] == [0]


def test_the_remotes_total_of_tokens_is_spread(remote: Remote, make: Make) -> None:
    encoder = make()
    given = [Prompt.of("one two three four"), Prompt.of("one two")]
    assert encoder.encode(given, Representation.QUERY).token_counts.sum() == 6
    counts = ingest(encoder, given).token_counts  # the probe's share does not count
    assert counts[0] > counts[1] > 0


def test_the_remotes_total_is_told_with_the_special_tokens_that_it_leaves_out(remote: Remote, make: Make) -> None:
    """Aleph Alpha's API counts a text's own tokens, the other two what the model reads."""
    aleph, other = make(api="aleph_alpha"), make(api="openai")
    given = [Prompt.of("one two three four"), Prompt.of("one")]
    assert aleph.encode(given[1:], Representation.QUERY).token_counts.tolist() == [1 + 2]
    assert aleph.encode(given, Representation.QUERY).token_counts.sum() == 5 + 2 * 2
    assert other.encode(given, Representation.QUERY).token_counts.sum() == 5


@given(total=st.integers(0, 10_000), estimates=st.lists(st.integers(0, 500), min_size=1, max_size=30))
def test_shares_sum_to_the_total_and_are_fair(total: int, estimates: list[int]) -> None:
    shares = spread(total, estimates)
    assert sum(shares) == total
    weights = estimates if sum(estimates) else [1] * len(estimates)
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - total * weight / sum(weights)) <= 1


def test_settings_and_encoders_load_without_model_libraries() -> None:
    """A command line that only reads settings must not pay for HTTP, and none here for torch."""
    code = (
        "import sys, embedder.remote.config; assert 'httpx' not in sys.modules; "
        "import embedder.remote.loading; assert not {'torch', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[3])


def test_nothing_is_asked_before_it_is_needed(remote: Remote, make: Make) -> None:
    encoder = make(prefixes={Representation.QUERY: "query: "})
    assert encoder.max_tokens == 512
    assert encoder.overhead(Representation.QUERY) == 5
    assert encoder.name == "mine"
    assert not remote.received


def test_hybrid_vectors_come_out_of_one_request(remote: Remote, make: Make) -> None:
    encoder = make(api="vikingdb", sparse=True, batch_items=3)
    assert isinstance(encoder, RemoteHybridEncoder)
    hybrid: HybridEncoder = encoder
    texts = ["red apple pie", "pie", "green tea", "red", "tea pie"]
    given = [Prompt.of(text) for text in texts]
    dense, sparse = hybrid.encode_hybrid(given, Representation.DOCUMENT)
    assert len(remote.asked) == 3
    np.testing.assert_allclose(dense.vectors, np.stack([remote.unit(text) for text in texts]), atol=1e-6)
    for vector, text in zip(sparse.vectors, texts, strict=True):
        assert (np.diff(vector.ids) > 0).all()
        assert vector.ids.dtype == np.int32
        found = {hybrid.token(int(id)): weight for id, weight in zip(vector.ids, vector.weights, strict=True)}
        assert found == pytest.approx({word: 0.5 + i / 10 for i, word in enumerate(text.split())})
    assert sparse.token_counts.tolist() == dense.token_counts.tolist()
    alone = hybrid.encode_sparse(given[:1], Representation.DOCUMENT).vectors[0]
    np.testing.assert_array_equal(alone.ids, sparse.vectors[0].ids)
    assert hybrid.token(5) == "#5"
    assert hybrid.trace_sparse(given[:1], Representation.DOCUMENT, [alone.ids]) is None


def test_only_a_sparse_model_has_sparse_methods(make: Make) -> None:
    assert not hasattr(make(api="vikingdb"), "encode_sparse")


def test_ids_of_tokens_never_change() -> None:
    """They are in the index: another number here is a broken collection."""
    names = TokenNames()
    assert [names.id(token) for token in ("De", "de", "语义", "")] == [309692983, 1192047946, 283152664, 154724242]


def test_names_are_forgotten_beyond_a_limit() -> None:
    names = TokenNames(max_names=2)
    first, second = names.id("first"), names.id("second")
    names.id("first")
    third = names.id("third")
    assert [names.name(id) for id in (first, second, third)] == ["first", f"#{second}", "third"]


def test_a_failing_remote_does_not_spoil_the_encoder(remote: Remote, make: Make) -> None:
    encoder = make(attempts=1)
    _ = encoder.dimension
    remote.faults.append(status(500))
    with pytest.raises(RemoteUnavailable):
        ingest(encoder, prompts(3))
    assert len(ingest(encoder, prompts(3)).vectors) == 3
