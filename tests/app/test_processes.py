"""Several Salience processes over one data directory, and reading one's own writes, as users meet them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient
from structlog.testing import capture_logs

from store import Database
from store.jobs import list_jobs
from store.maintenance import owner
from store.migrate import SCHEMA_VERSION
from store.processes import processes, register
from tests.app.command import start
from tests.waiting import until

Salience = Callable[..., tuple[int, str, str]]
SEARCH = "/v1/collections/goods/search"


def test_a_search_sees_the_seq_that_it_asks_for(client: TestClient) -> None:
    put = client.put("/v1/collections/goods/documents/lamp", json={"text": "A lamp for the desk."})
    seq = put.json()["seq"]
    found = client.post(SEARCH, json={"query": "lamp", "min_seq": seq})
    assert (found.status_code, found.json()["seq"]) == (200, seq)
    hit = found.json()["hits"][0]
    assert hit["document_id"] == "lamp"
    explained = client.post(
        "/v1/collections/goods/explain", json={"query": "lamp", "id": hit["id"], "min_seq": seq, "timeout_ms": 1000}
    )
    assert explained.status_code == 200
    got = client.get("/v1/collections/goods/documents/lamp", params={"min_seq": seq})
    assert got.json()["text"] == "A lamp for the desk."


def test_a_seq_that_does_not_come_in_time_is_a_503_to_try_again(client: TestClient) -> None:
    seq = client.post(SEARCH, json={"query": "lamp"}).json()["seq"]
    late: dict[str, Any] = {"min_seq": seq + 1, "timeout_ms": 100}
    for response in (
        client.post(SEARCH, json={"query": "lamp", **late}),
        client.post("/v1/collections/goods/explain", json={"query": "lamp", "id": 1, **late}),
        client.get("/v1/collections/goods/documents/tv", params=late),
    ):
        assert response.status_code == 503
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("seq_not_reached", "min_seq")
        assert f"is at seq {seq}" in error["message"]
        assert response.headers["Retry-After"] == "1"
    for bad in ({"min_seq": -1}, {"min_seq": 2**63}, {"min_seq": 1, "timeout_ms": 600_001}, {"min_seq": "1"}):
        assert client.post(SEARCH, json={"query": "lamp", **bad}).status_code == 422


def test_what_a_caller_asks_in_vain_is_no_failure_of_the_server_in_its_log(client: TestClient) -> None:
    with capture_logs() as lines:
        assert client.post(SEARCH, json={"query": "lamp", "min_seq": 10**9, "timeout_ms": 50}).status_code == 503
    [line] = lines
    assert (line["log_level"], line["status"], line["code"]) == ("info", 503, "seq_not_reached")


def test_a_deletion_names_its_seq(client: TestClient) -> None:
    deleted = client.delete("/v1/collections/goods/documents/radio")
    seq = int(deleted.headers["Salience-Seq"])
    found = client.post(SEARCH, json={"query": "radio kitchen", "min_seq": seq}).json()
    assert found["seq"] == seq
    assert "radio" not in [hit["document_id"] for hit in found["hits"]]


def test_documents_need_not_be_waited_for(client: TestClient) -> None:
    documents = [{"id": f"lamp{n}", "text": f"A lamp number {n}."} for n in range(5)] + [{"id": "empty", "text": ""}]
    queued = client.post("/v1/collections/goods/documents", params={"wait": False}, json={"documents": documents})
    assert queued.status_code == 202
    job = queued.json()
    assert queued.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["total"], job["failed"]) == (6, 1)
    until(lambda: client.get(f"/v1/jobs/{job['id']}").json()["state"] == "done", 30)
    seq = client.get(f"/v1/jobs/{job['id']}").json()["seq"]
    found = client.post(SEARCH, json={"query": "lamp", "min_seq": seq}).json()
    assert {hit["document_id"] for hit in found["hits"]} >= {f"lamp{n}" for n in range(5)}


def test_the_command_line_waits_for_a_seq(salience: Salience, tmp_path: Path) -> None:
    (tmp_path / "notes.ndjson").write_text('{"id": "a", "text": "A lamp for the desk."}\n')
    code, out, err = salience("add", str(tmp_path / "notes.ndjson"), "-c", "notes", "--json")
    assert code == 0, err
    seq = json.loads(out)["seq"]
    code, out, _ = salience("search", "lamp", "-c", "notes", "--json", "--min-seq", str(seq))
    assert (code, json.loads(out)["seq"]) == (0, seq)
    code, _, err = salience("search", "lamp", "-c", "notes", "--min-seq", str(seq + 1), "--timeout-ms", "100")
    assert code == 1
    assert f"is at seq {seq}" in err


def test_a_command_leaves_what_is_due_to_the_owner_or_does_it(salience: Salience, tmp_path: Path) -> None:
    (tmp_path / "notes.ndjson").write_text('{"id": "a", "text": "A lamp for the desk."}\n')
    assert salience("add", str(tmp_path / "notes.ndjson"), "-c", "notes")[0] == 0
    assert owner(tmp_path / "data") is not None
    with register(tmp_path / "data", kind="serve", version="0.1.0", schema=SCHEMA_VERSION):
        assert salience("delete", "a", "-c", "notes")[0] == 0


def test_a_server_that_does_not_go_with_one_that_is_there_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    Database.open(data).close()
    with register(data, kind="serve", version="7.0.0", schema=SCHEMA_VERSION, address="http://old:8080"):
        # Before the model is loaded, which takes seconds: this one cannot be.
        out, err = start("serve", "--port", "0", data_dir=data, SALIENCE_MODEL=str(tmp_path)).communicate(timeout=60)
        assert out == b""
        for part in (b"http://old:8080", b"version 7.0.0", b"Stop the other one"):
            assert part in err
        assert b"Traceback" not in err
        _, err = start("worker", "--once", data_dir=data).communicate(timeout=60)
        assert b"version 7.0.0" in err


def listening(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    line = next(line for line in process.stderr if b"listens at" in line).decode()
    found = re.search(r"http://[\d.]+:\d+", line)
    assert found
    return found[0]


def post(address: str, path: str, body: object) -> dict[str, Any]:
    request = urllib.request.Request(address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def test_two_servers_share_a_directory_and_the_second_takes_over(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first, second = start("serve", "--port", "0", data_dir=data), None
    try:
        address = listening(first)
        until(lambda: (owner(data) or "").startswith(f"{first.pid} "))
        second = start("serve", "--port", "0", data_dir=data)
        other = listening(second)
        assert {process.address for process in processes(data)} == {address, other}
        post(address, "/v1/collections", {"name": "goods"})
        for number in range(10):
            document = {"documents": [{"id": f"d{number}", "text": f"A lamp with number {number}."}]}
            seq = post(address, "/v1/collections/goods/documents", document)["seq"]
            answer = post(other, SEARCH, {"query": f"lamp {number}", "min_seq": seq, "k": 20})
            assert f"d{number}" in {hit["document_id"] for hit in answer["hits"]}
        first.kill()
        began = time.monotonic()
        until(lambda: (owner(data) or "").startswith(f"{second.pid} "))
        assert time.monotonic() - began < 20  # no lease of half a minute has to run out
        assert [process.pid for process in processes(data)] == [second.pid]
        assert len(post(other, SEARCH, {"query": "lamp", "k": 20})["hits"]) == 10
        assert ended_by_sigterm_amid_a_job(second, other) < 40
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.communicate(timeout=60)
    assert processes(data) == []
    database = Database.open(data)
    with database.read() as session:
        (job,) = list_jobs(session, limit=5)
    database.close()
    assert job.worker is None  # the lease was given back
    assert job.created + job.pending == 300


def ended_by_sigterm_amid_a_job(process: subprocess.Popen[bytes], address: str) -> float:
    """Seconds that it took."""
    lines = "\n".join(json.dumps({"id": str(n), "text": f"A lamp with the number {n}. " * 5}) for n in range(300))
    request = urllib.request.Request(f"{address}/v1/collections/goods/documents:bulk", lines.encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 202
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM  # what uvicorn makes of it, once it has shut down
    assert b"Traceback" not in rest
    return time.monotonic() - began
