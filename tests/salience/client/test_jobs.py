"""Bulk requests and jobs: streamed, waited for, recognised when they come twice."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salience.client import AsyncClient, errors
from salience.client._bulk import CHUNK_BYTES, BulkBody
from tests.salience.client.conftest import TOKEN, Face

LAMPS = [{"id": f"lamp-{n}", "text": f"A lamp number {n}.", "price": n} for n in range(40)]


@pytest.fixture
def client(make_face: Callable[..., Face], address: str) -> Iterator[Face]:
    client = make_face(address, key=TOKEN)
    client.create_collection("bulk")
    yield client
    client.delete_collection("bulk")


def test_documents_are_streamed_into_a_job_that_is_waited_for(client: Face) -> None:
    looks: list[tuple[str, int]] = []
    lines = [*LAMPS, {"id": "empty", "text": ""}]
    job = client.add_bulk("bulk", iter(lines))
    assert (job.collection, job.total) == ("bulk", 41)
    done = client.wait_for_job(job, timeout=60, progress=lambda seen: looks.append((seen.state, seen.pending)))
    assert (done.state, done.created, done.failed, done.pending) == ("done", 40, 1, 0)
    assert looks[-1] == ("done", 0)
    (failure,) = client.job_errors(done.id)
    assert (failure.id, failure.line) == ("empty", 41)
    assert done.errors == (failure,)
    found = client.search("bulk", "lamp number 7", filter="price = 7", min_seq=done.seq)
    assert [hit.document_id for hit in found.hits] == ["lamp-7"]
    assert done.id in [job.id for job in client.iter_jobs(collection="bulk", state="done")]


def test_the_same_request_under_its_key_is_the_same_job(client: Face) -> None:
    first = client.add_bulk("bulk", LAMPS, key="monday")
    assert client.add_bulk("bulk", lambda: LAMPS, key="monday").id == first.id
    assert client.add_bulk("bulk", LAMPS).id != first.id
    with pytest.raises(errors.JobConflict):
        client.add_bulk("bulk", LAMPS[1:], key="monday")
    with pytest.raises(errors.InvalidRequest):
        client.add_bulk("bulk", LAMPS, key="not a key")


def test_fields_by_other_names(client: Face) -> None:
    job = client.add_bulk("bulk", [{"sku": "a", "blurb": "A desk lamp."}], id_field="sku", text_field="blurb")
    client.wait_for_job(job, timeout=60)
    assert client.get_document("bulk", "a").text == "A desk lamp."


@pytest.mark.parametrize("kind", [AsyncClient])
def test_documents_may_come_asynchronously(client: Face) -> None:
    async def lamps() -> AsyncIterator[dict[str, Any]]:
        for lamp in LAMPS:
            yield lamp

    assert client.wait_for_job(client.add_bulk("bulk", lamps()), timeout=60).created == 40
    assert client.add_bulk("bulk", lamps).total == 40


def test_a_source_that_fails_leaves_nothing_and_keeps_its_error(client: Face) -> None:
    before = [job.id for job in client.iter_jobs()]
    for error in (RuntimeError("the database is gone"), httpx.ReadError("of another server"), KeyError("text")):

        def broken(error: Exception = error) -> Iterator[dict[str, Any]]:
            for n in range(8_000):
                yield {"id": str(n), "text": f"{n} " * 50}
            raise error

        with pytest.raises(type(error)) as caught:
            client.add_bulk("bulk", broken)
        assert caught.value is error
    for bad, what in (
        ([{"text": "fine"}, "text"], "document 2 is of type str"),
        ([{"price": float("nan")}], "no JSON"),
    ):
        with pytest.raises(ValueError, match=what):
            client.add_bulk("bulk", bad)
    assert [job.id for job in client.iter_jobs()] == before


def test_jobs_that_do_not_come_to_their_end(client: Face) -> None:
    job = client.add_bulk("bulk", ({"id": str(n), "text": f"Text number {n}. " * 20} for n in range(1500)))
    with pytest.raises(errors.JobUnfinished, match=r"has not ended in 0\.2 seconds") as caught:
        client.wait_for_job(job.id, timeout=0.2)
    assert (caught.value.id, caught.value.state in ("queued", "running")) == (job.id, True)
    cancelled = client.cancel_job(job.id)
    assert cancelled.state == "cancelled"
    with pytest.raises(errors.JobUnfinished, match="it is cancelled"):
        client.wait_for_job(job)
    with pytest.raises(errors.JobConflict):
        client.retry_job(job.id)


def test_memory_holds_a_chunk_however_many_documents_there_are() -> None:
    def documents() -> Iterator[dict[str, Any]]:
        for n in range(5_000):
            yield {"id": str(n), "text": " ".join(f"{n * m * 7919 % 104729:x}" for m in range(1, 30))}

    list(BulkBody([{}]).chunks())
    tracemalloc.start()
    try:
        sizes = [len(chunk) for chunk in BulkBody(documents()).chunks()]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(sizes) > 3
    assert all(CHUNK_BYTES <= size < 2 * CHUNK_BYTES for size in sizes[:-1])
    assert peak < 2 * 2**20


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=4), max_size=20))
def test_what_is_sent_is_what_was_given_and_always_the_same_bytes(documents: list[dict[str, Any]]) -> None:
    try:
        sent = b"".join(BulkBody(documents).chunks())
    except ValueError:
        with pytest.raises(UnicodeEncodeError):
            json.dumps(documents, ensure_ascii=False).encode()
        return
    assert [json.loads(line) for line in gzip.decompress(sent).decode().split("\n")[:-1]] == documents
    assert b"".join(BulkBody(iter(documents)).chunks()) == sent
    assert zlib.decompress(sent, 31) == gzip.decompress(sent)


def test_only_what_can_be_had_again_is_sent_again() -> None:
    once = BulkBody(iter([{"id": "a"}]))
    states = [once.repeatable, bool(list(once.chunks())), once.repeatable]
    assert states == [True, True, False]
    for source in ([{"id": "a"}], lambda: iter([{"id": "a"}])):
        body: BulkBody[Any] = BulkBody(source)
        assert list(body.chunks()) == list(body.chunks())
        assert body.repeatable
