"""Bulk requests and jobs over HTTP."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from app.wiring import Wiring
from core.errors import RemoteError, RemoteMismatch, RemoteRefused, RemoteUnavailable
from tests.app.bulk import BULK, articles, idle, lines
from tests.indexer.fakes import FakeEncoder, slow


class Server(Protocol):
    address: str
    log: Path
    token: str


def ended(client: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(f"/v1/jobs/{job['id']}").json()
        if found["state"] in ("done", "failed", "cancelled"):
            return found
        time.sleep(0.02)
    raise AssertionError(f"the job never ends: {found}")


def test_a_bad_byte_costs_its_line_and_changes_no_other_document(client: TestClient) -> None:
    texts = [{"id": n, "text": f"Müller fährt zum {n}. Mal nach Köln."} for n in range(1, 31)]
    sent = [json.dumps(text, ensure_ascii=False).encode() for text in texts]
    assert client.post(BULK, params={"wait": True}, content=b"\n".join(sent)).json()["created"] == 30
    sent[7] = sent[7].replace("ü".encode(), b"\xe4")
    report = client.post(BULK, params={"wait": True}, content=b"\n".join(sent)).json()
    assert (report["unchanged"], report["replaced"]) == (29, 0)
    assert [(error["line"], error["reason"]) for error in report["errors"]] == [(8, "the line is not valid UTF-8")]


def test_the_way_of_a_bulk_request(client: TestClient) -> None:
    broken = '{"id": "b", "text": '
    body = "\n".join(
        [articles(150), broken, lines({"id": "n" * 10_240, "text": "x"}, {"id": "a3", "text": "Changed."})]
    )
    accepted = client.post(BULK, content=body)
    assert accepted.status_code == 202
    job = accepted.json()
    assert accepted.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["collection"], job["total"], job["duplicates"]) == ("goods", 153, 1)
    done = ended(client, job)
    assert (done["state"], done["created"], done["failed"], done["pending"]) == ("done", 150, 2, 0)
    assert done["rate"] > 0
    assert done["seconds_left"] is None
    assert [(error["line"], error["path"]) for error in done["errors"]] == [(151, "body"), (152, "body")]
    assert "10240 characters" in done["errors"][1]["reason"]
    download = client.get(f"/v1/jobs/{job['id']}/errors")
    assert download.headers["Content-Type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in download.text.splitlines()] == done["errors"]
    assert client.get("/v1/collections/goods/documents/a3").json()["text"] == "Changed."
    found = client.post("/v1/collections/goods/search", json={"query": "article number 77", "k": 3}).json()
    assert "a77" in [hit["document_id"] for hit in found["hits"]]
    assert found["seq"] >= done["seq"]


def test_with_wait_the_answer_is_the_report(client: TestClient) -> None:
    body = lines(
        {"id": "a", "text": "One.", "v": 1}, {"id": "b", "text": "Two.", "v": "two"}, {"id": "a", "text": "3."}
    )
    report = client.post(f"{BULK}?wait=true", content=gzip.compress(body.encode()))
    assert report.status_code == 200
    assert (report.json()["created"], report.json()["duplicates"], report.json()["passages"]) == (2, ["a"], 2)
    encoded = {"Content-Encoding": "gzip"}
    again = client.post(f"{BULK}?wait=true", content=gzip.compress(body.encode()), headers=encoded)
    assert again.json()["unchanged"] == 2


def test_a_repeated_key_makes_no_second_job(client: TestClient) -> None:
    key = {"Idempotency-Key": "import-7"}
    first = client.post(BULK, content=articles(3), headers=key).json()
    again = client.post(BULK, content=articles(3), headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    waited = client.post(f"{BULK}?wait=true", content=articles(3), headers=key)
    assert (waited.status_code, waited.json()["created"]) == (200, 3)
    for url, body in ((BULK, articles(4)), (f"{BULK}?id_field=sku", articles(3))):
        conflict = client.post(url, content=body, headers=key)
        assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "job_conflict")
        assert conflict.json()["error"]["param"] == "Idempotency-Key"
    bad = client.post(BULK, content=articles(1), headers={"Idempotency-Key": "a b"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "Idempotency-Key")
    assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]] == [first["id"]]


def test_bodies_that_cannot_be_read_to_their_end_leave_nothing(make_client: Callable[..., TestClient]) -> None:
    client = make_client(limits={"bulk_bytes": 20_000})
    client.post("/v1/collections", json={"name": "goods"})
    noise = lines(*({"id": f"{number}", "text": os.urandom(20).hex()} for number in range(100)))
    packed = gzip.compress(noise.encode())
    refused = {
        "cut": (packed[:-100], 400, "unreadable_file"),
        "damaged": (packed[:2000] + b"\xff" * 50 + packed[2050:], 400, "unreadable_file"),
        "binary": (b"%PDF\x00\x01\x02" * 9, 400, "unreadable_file"),
        "empty": (b"", 400, "unreadable_file"),
        "long": (b"x" * 20_001, 413, "too_large"),
        "bomb": (gzip.compress(lines({"text": "y" * 15_000}, {"text": "z" * 15_000}).encode()), 413, "too_large"),
    }
    for name, (body, status, code) in refused.items():
        answer = client.post(BULK, content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), name
    brotli = client.post(BULK, content=b"x", headers={"Content-Encoding": "br"})
    assert (brotli.status_code, brotli.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert client.get("/v1/jobs").json() == {"jobs": [], "next": None}


def test_a_line_over_the_limit_costs_itself_only(make_client: Callable[..., TestClient]) -> None:
    client = make_client(limits={"line_characters": 2000})
    client.post("/v1/collections", json={"name": "goods"})
    body = lines({"id": "a", "text": "One."}, {"id": "b", "text": "x" * 5_000_000}, {"id": "c", "text": "Three."})
    report = client.post(f"{BULK}?wait=true", content=body).json()
    assert (report["created"], report["failed"]) == (2, 1)
    (error,) = report["errors"]
    assert (error["code"], error["line"]) == ("too_large", 2)
    assert "longer than 2000 characters" in error["reason"]


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    with idle(tmp_path, FakeEncoder(), limits={"queued_items": 5}) as client:
        first = client.post(BULK, content=articles(7)).json()
        assert (first["state"], first["pending"]) == ("queued", 7)
        refused = client.post(BULK, content=articles(1))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert int(refused.headers["Retry-After"]) >= 1
        put = client.put("/v1/collections/goods/documents/x", json={"text": "By hand."})
        assert put.json()["created"] == 1
        assert client.post(f"/v1/jobs/{first['id']}/cancel").json()["state"] == "cancelled"
        assert client.post(BULK, content=articles(1)).status_code == 202


def test_without_a_worker_a_request_that_waits_works_itself(tmp_path: Path) -> None:
    with idle(tmp_path, FakeEncoder()) as client:
        assert client.post(f"{BULK}?wait=true", content=articles(300)).json()["created"] == 300


def test_who_waits_no_longer_has_the_job_which_goes_on(tmp_path: Path) -> None:
    encoder = FakeEncoder(slow(1.5))
    with idle(tmp_path, encoder) as client:
        answer = client.post(f"{BULK}?wait=true", content=articles(300), headers={"Salience-Timeout-Ms": "1000"})
        job = answer.json()
        assert (answer.status_code, job["state"], job["worker"]) == (202, "queued", None)
        assert job["pending"] >= 300 - 128
        encoder.before = slow(0.0)
        wiring: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
        assert wiring.worker.finish(job["id"]).created == 300


def test_a_remote_model_that_is_down(tmp_path: Path) -> None:
    down = True

    def fail(texts: list[str]) -> None:
        if down:
            raise RemoteUnavailable("the remote model cannot be reached", retry_after=0.1)

    with idle(tmp_path, FakeEncoder(fail)) as client:
        answer = client.post(f"{BULK}?wait=true", content=articles(3))
        assert answer.status_code == 202
        job = answer.json()
        assert (job["state"], job["reason"]) == ("waiting", "the remote model cannot be reached")
        put = client.put("/v1/collections/goods/documents/x", json={"text": "By hand."})
        assert (put.status_code, put.json()["error"]["code"]) == (503, "remote_unavailable")
        down = False
        wiring: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
        assert wiring.worker.finish(job["id"]).created == 3


@pytest.mark.parametrize(
    "fault", [RemoteRefused("the remote answered 401", status=401), RemoteMismatch("it changed its model")]
)
def test_a_remote_model_that_refuses_whatever_it_is_sent(tmp_path: Path, fault: RemoteError) -> None:
    """No document is at fault: whoever waits is told 502, and a job waits."""
    well = False

    def fail(texts: list[str]) -> None:
        if not well:
            raise fault

    with idle(tmp_path, FakeEncoder(fail)) as client:
        answer = client.post(f"{BULK}?wait=true", content=articles(1))
        assert answer.status_code == 202
        job = answer.json()
        assert (job["state"], job["reason"], job["failed"]) == ("waiting", fault.message, 0)
        documents = "/v1/collections/goods/documents"
        put = client.put(f"{documents}/x", json={"text": "By hand."})
        assert (put.status_code, put.json()["error"]["code"]) == (502, fault.code)
        for count in (1, 3):
            body = {"documents": [{"id": f"p{number}", "text": f"Text {number}."} for number in range(count)]}
            post = client.post(documents, json=body)
            assert (post.status_code, post.json()["error"]["code"]) == (502, fault.code)
        well = True
        wiring: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
        assert wiring.worker.finish(job["id"]).created == 1


def test_poison_can_be_tried_again(tmp_path: Path) -> None:
    bad = True

    def fail(texts: list[str]) -> None:
        if bad and any(text.endswith(" 1") for text in texts):
            raise RuntimeError("no kernel")

    with idle(tmp_path, FakeEncoder(fail)) as client:
        report = client.post(f"{BULK}?wait=true", content=articles(3)).json()
        assert (report["created"], report["failed"]) == (2, 1)
        assert (report["errors"][0]["id"], report["errors"][0]["line"]) == ("a1", 2)
        assert report["errors"][0]["code"] == "model_error"
        bad = False
        again = client.post("/v1/jobs/1/retry").json()
        assert (again["state"], again["pending"], again["failed"]) == ("queued", 1, 0)
        wiring: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
        assert wiring.worker.finish(1).created == 3
        conflict = client.post("/v1/jobs/1/retry")
        assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "job_conflict")


def test_jobs_are_listed_newest_first(tmp_path: Path) -> None:
    with idle(tmp_path, FakeEncoder()) as client:
        client.post("/v1/collections", json={"name": "other"})
        for name in ("goods", "other", "goods"):
            client.post(f"/v1/collections/{name}/documents:bulk", content=articles(1))
        client.post("/v1/jobs/1/cancel")

        def ids(**conditions: Any) -> list[int]:
            return [job["id"] for job in client.get("/v1/jobs", params=conditions).json()["jobs"]]

        assert ids() == [3, 2, 1]
        assert ids(collection="goods") == [3, 1]
        assert ids(state="cancelled") == [1]
        page = client.get("/v1/jobs", params={"limit": 2}).json()
        assert (page["next"], ids(before=page["next"])) == (2, [1])
        assert client.get("/v1/jobs", params={"state": "receiving"}).status_code == 422
        client.delete("/v1/collections/goods")
        gone = client.get("/v1/jobs/3").json()
        assert (gone["state"], gone["reason"]) == ("failed", "the collection 'goods' was deleted")
        for method, path in (("GET", "99"), ("GET", "99/errors"), ("POST", "99/cancel"), ("POST", "99/retry")):
            missing = client.request(method, f"/v1/jobs/{path}")
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "job_not_found")


def test_documents_for_no_collection_or_one_of_another_model_are_refused(client: TestClient) -> None:
    missing = client.post("/v1/collections/godos/documents:bulk", content=articles(1))
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "collection_not_found")
    wiring: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
    from tests.indexer.fakes import create

    create(wiring.database, "foreign")
    refused = client.post("/v1/collections/foreign/documents:bulk", content=articles(1))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_mismatch")


def test_a_body_that_breaks_off_leaves_nothing(server: Server) -> None:
    """Over a real socket: a part of a body of which more was announced, then nothing."""
    headers = {"Authorization": f"Bearer {server.token}"}
    place = urlsplit(server.address)
    with httpx.Client(base_url=server.address, headers=headers, timeout=60) as client:
        assert client.post("/v1/collections", json={"name": "broken"}).status_code == 201
        head = (
            "POST /v1/collections/broken/documents:bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
            f"Authorization: Bearer {server.token}\r\nIdempotency-Key: once\r\n\r\n"
        )
        with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
            connection.sendall(head.encode() + (articles(60_000) + "\n").encode())
        whole = {"Idempotency-Key": "once"}
        deadline = time.monotonic() + 30
        while True:  # until the server has seen that nobody is there
            answer = client.post(BULK.replace("goods", "broken"), content=articles(2), headers=whole)
            if answer.status_code == 202 or time.monotonic() > deadline:
                break
            assert answer.json()["error"]["code"] == "job_conflict"
            time.sleep(0.1)
        assert answer.status_code == 202
        jobs = client.get("/v1/jobs", params={"collection": "broken"}).json()["jobs"]
        assert [job["id"] for job in jobs] == [answer.json()["id"]]
        while client.get(f"/v1/jobs/{jobs[0]['id']}").json()["state"] != "done":
            assert time.monotonic() < deadline + 30
            time.sleep(0.05)
        assert client.get("/v1/collections/broken").json()["documents"] == 2
    logged = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in logged
    assert "Article number" not in logged
