"""The bench of ingest runs end to end on few documents, and its figures are sound."""

from __future__ import annotations

import gzip
import json
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bench.ingest import restart, searching, throughput
from bench.ingest.texts import documents


def test_texts_come_by_turns_from_the_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    first.write_text('{"title": "one", "text": "a"}\n{"text": "b"}\n{"text": " "}\n', "utf-8")
    with gzip.open(second, "wt", encoding="utf-8") as file:
        file.write(json.dumps({"text": "c"}) + "\n")
    found = documents([first, second], 5)
    assert [(document.title, document.text) for document in found] == [
        ("one", "a"), ("", "c"), ("", "b"), ("one", "Copy 1. a"), ("", "Copy 1. c"),
    ]  # fmt: skip
    assert [document.id for document in found] == [f"d{number}" for number in range(5)]


def test_throughput_is_measured_to_the_last_commit(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": f"A text of some words, number {n}."}) + "\n" for n in range(150)))
    report = throughput.measure(documents([file], 150), rounds=1)
    assert (report["documents"], report["passages"]) == (150, 150)
    assert report["share"] > 0
    assert np.isclose(report["documents_per_second"], report["share"] * report["bare_documents_per_second"])


def test_passages_survive_the_kill(tmp_path: Path) -> None:
    report = restart.measure(1500)
    assert (report["stored"], report["documents"], report["verified"]) == (1500, 1500, True)
    assert 750 <= report["done_when_killed"] <= 1500
    assert report["jobs"] == {"done": restart.JOBS}
    assert report["passages_per_second"] > 0
    assert report["own_mib"] > 10


def test_clients_are_measured_alone_and_beside_the_load(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    text = "many words of no great meaning " * 4
    file.write_text("".join(json.dumps({"text": f"{n} {text}"}) + "\n" for n in range(1500)))
    report = searching.measure(documents([file], 1500), seconds=1.0, quick=True)
    for place in ("inside", "beside"):
        found = report[place]
        assert found["alone"]["p50"] <= found["alone"]["p95"] <= found["alone"]["p99"]
        assert math.isfinite(found["ratio_p95"])
        assert found["ratio_p95"] > 0
        assert np.isclose(found["ratio_p95"], found["loading"]["p95"] / found["alone"]["p95"])


class Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(503)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_searches_that_fail_are_no_fast_ones() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(RuntimeError, match="answered with 503"):
            searching._clients(server.server_address[1], {"q": "a query of five words"}, 0.1, 1)
        server.shutdown()
