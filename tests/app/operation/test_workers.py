"""Several processes at one port, as users run them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from store.processes import processes
from tests.app.command import start
from tests.waiting import until

SEARCH = "/v1/collections/goods/search"


def listening(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(rb"listens at (http://\S+)", line):
            return found[1].decode()
    raise AssertionError("it did not start")


def post(address: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json", "Connection": "close"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def searches(address: str) -> dict[str, float]:
    """By collection."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as response:
        text = response.read().decode()
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples if sample.name == "salience_searches_total"]
    return {sample.labels["collection"]: sample.value for sample in samples}


def test_two_workers_serve_one_dies_and_both_stop(tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = start("serve", "--port", "0", "--workers", "2", data_dir=data, SALIENCE_METRICS__COLLECTIONS="1")
    try:
        address = listening(process)
        workers = {one.pid for one in processes(data)}
        assert len(workers) == 2
        assert process.pid not in workers
        post(address, "/v1/collections", {"name": "goods"})
        post(address, "/v1/collections/goods/documents", {"documents": [{"id": "a", "text": "A radio."}]})
        for _ in range(20):
            assert post(address, SEARCH, {"query": "radio"})["hits"][0]["document_id"] == "a"
        assert searches(address) == {"goods": 20}  # whichever of them is asked

        victim = min(workers)
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):  # the other one answers meanwhile
            assert post(address, SEARCH, {"query": "radio"})["hits"]
        until(lambda: len(new := {one.pid for one in processes(data)}) == 2 and victim not in new, 60)
        assert searches(address) == {"goods": 40}

        delete = urllib.request.Request(f"{address}/v1/collections/goods", method="DELETE")
        urllib.request.urlopen(delete, timeout=60).close()
        assert searches(address) == {}
        post(address, "/v1/collections", {"name": "books"})

        def named() -> bool:
            """Once one that was asked for its figures, and has made room, answers a search."""
            post(address, "/v1/collections/books/search", {"query": "radio"})
            found = searches(address)
            assert found.keys() <= {"books", "other"}
            return "books" in found

        until(named, 60)

        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
        assert process.returncode == 0
        assert b"Traceback" not in rest
        assert b"started anew" in rest
        assert processes(data) == []
    finally:
        process.kill()
        process.communicate(timeout=60)


def test_no_connection_is_taken_that_no_worker_would_answer(tmp_path: Path) -> None:
    """While an upload keeps a worker from ending, the port is closed to others."""
    data = tmp_path / "data"
    process = start("serve", "--port", "0", "--workers", "2", data_dir=data, SALIENCE_SERVER__DRAIN_SECONDS="0.2")
    try:
        address = urllib.parse.urlsplit(listening(process))
        post(address.geturl(), "/v1/collections", {"name": "goods"})
        where = (str(address.hostname), int(address.port or 0))
        with socket.create_connection(where, timeout=60) as upload:
            head = "POST /v1/collections/goods/documents:bulk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            upload.sendall(head.encode() + b'5\r\n{"id"\r\n')
            time.sleep(0.5)  # until it is begun
            process.send_signal(signal.SIGTERM)
            until(lambda: _refuses(where), 10)
            assert process.poll() is None
    finally:
        process.kill()
        process.communicate(timeout=60)


def _refuses(where: tuple[str, int]) -> bool:
    try:
        socket.create_connection(where, timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_workers_that_cannot_start_end_at_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "something.txt").write_text("of somebody else's")
    process = start("serve", "--port", "0", "--workers", "2", data_dir=tmp_path / "data")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert b"holds other files" in err


def test_workers_end_with_their_supervisor_and_the_next_one_removes_what_they_counted(tmp_path: Path) -> None:
    data, temporary = tmp_path / "data", tmp_path / "temporary"
    temporary.mkdir()
    process = start("serve", "--port", "0", "--workers", "2", data_dir=data, TMPDIR=str(temporary))
    try:
        listening(process)
    finally:
        process.kill()
    until(lambda: processes(data) == [], 40)
    process.communicate(timeout=40)
    assert len(list(temporary.glob("salience-metrics-*"))) == 1
    (data / "processes").rename(tmp_path / "kept")  # so that the next one cannot start, and ends
    (data / "processes").touch()
    process = start("serve", "--port", "0", "--workers", "2", data_dir=data, TMPDIR=str(temporary))
    assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 1
    assert list(temporary.glob("salience-metrics-*")) == []
