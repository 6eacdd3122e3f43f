"""The soak: its caches are full before it begins, what grows on and on is not flat, what fills and swings is."""

from __future__ import annotations

import asyncio
import math
import os
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench.soak.__main__ import soaked
from bench.soak.judgement import STRETCHES, Sample, judged
from bench.soak.load import Load


def samples(
    own: float, added_a_minute: float, files_a_minute: float = 0.0, *, minutes: float = 20, noise: float = 0.0
) -> list[Sample]:
    """A sample each 5 s. Memory fills in the first quarter, and swings by 2 MiB from then on."""
    found, chance = [], random.Random(1)
    for number in range(round(minutes * 12)):
        minute = number / 12
        filled = own * min(1.0, 0.5 + 2 * minute / minutes)
        own_mib = filled + 2 * math.sin(number) + added_a_minute * minute + chance.gauss(0, noise)
        files = 40 + round(files_a_minute * minute) + number % 3
        found.append(Sample(minute=minute, own_mib=own_mib, caches_mib=72, files=files, threads=30 + number % 2))
    return found


def test_what_fills_up_and_swings_is_flat() -> None:
    report = judged(samples(600, 0.0))
    assert report["flat"]
    memory = report["own_mib"]
    assert memory["added"] == pytest.approx(0.0, abs=memory["error"] + 0.01)
    assert memory["first"] < 310 < 590 < memory["after_warm_up"]
    assert memory["allowed"] == pytest.approx(6.0, abs=0.1)
    assert (report["minutes"], report["warm_up_minutes"]) == (19.92, 10.0)
    assert report["caches_mib"] == {"after_warm_up": 72, "last": 72}


@pytest.mark.parametrize(("memory", "files"), [(2.0, 0.0), (0.0, 0.5), (4.0, 4.0)])
def test_what_grows_on_is_not(memory: float, files: float) -> None:
    report = judged(samples(600, memory, files))
    assert not report["flat"]
    assert report["own_mib"]["verdict"] == ("grows" if memory else "flat")
    assert report["files"]["verdict"] == ("grows" if files else "flat")
    assert report["own_mib"]["an_hour"] == pytest.approx(60 * memory, abs=3)
    assert report["files"]["an_hour"] == pytest.approx(60 * files, abs=3)


def test_what_shrinks_is_flat() -> None:
    assert judged(samples(600, -5.0))["flat"]


def test_what_is_too_noisy_is_not_said_to_be_flat() -> None:
    """The same growth, none, is seen in twenty minutes and not in five."""
    assert judged(samples(600, 0.0, noise=8.0))["flat"]
    report = judged(samples(600, 0.0, minutes=5, noise=20.0))
    assert (report["flat"], report["own_mib"]["verdict"]) == (False, "unsure")
    assert report["own_mib"]["added"] + report["own_mib"]["error"] > report["own_mib"]["allowed"]


def test_the_error_holds_what_was_added() -> None:
    """In 95 of 100 cases: of 200 runs with a known slope, about ten lie outside."""
    outside = 0
    for seed in range(200):
        chance = random.Random(seed)
        found = [
            Sample(minute=n / 12, own_mib=600 + n / 120 + chance.gauss(0, 3), caches_mib=0, files=40, threads=30)
            for n in range(240)
        ]
        memory = judged(found)["own_mib"]
        outside += abs(memory["added"] - 119 / 120) > memory["error"]
    assert 2 <= outside <= 22


def test_too_short_a_run_is_refused() -> None:
    with pytest.raises(ValueError, match=f"{2 * STRETCHES} are needed"):
        judged(samples(600, 0.0, minutes=1))


class Caches(Load):
    """Of a server that keeps so much of what it explained: 1 for each hit, and 1 for each query."""

    def __init__(self, *, traces: int, queries: int) -> None:
        super().__init__("http://nowhere")
        self.most = {"traces": traces, "queries": queries}
        self.kept = dict.fromkeys(self.most, 0)

    async def caches(self) -> float:
        return float(sum(self.kept.values()))

    async def _ask(self, client: str, method: str, path: str, *expected: int, **given: Any) -> dict[str, Any]:
        for name, count in (("traces", given["json"]["k"]), ("queries", 1)):
            self.kept[name] = min(self.most[name], self.kept[name] + count)
        return {}


@pytest.mark.parametrize(("traces", "queries"), [(900, 1000), (3000, 10)])
def test_all_caches_are_full_before_the_clients_begin(traces: int, queries: int) -> None:
    server = Caches(traces=traces, queries=queries)
    asyncio.run(server.fill_caches())
    assert server.kept == server.most


class Failing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_answers_that_nobody_expects_are_wrong_however_flat_the_memory_is() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        report = asyncio.run(soaked(f"http://127.0.0.1:{server.server_address[1]}", os.getpid(), 4.0))
        server.shutdown()
    assert report["unexpected"]["search 500 no code"] > 0
    assert f"{report['unexpected']['search 500 no code']} times: search 500 no code" in report["wrong"]
