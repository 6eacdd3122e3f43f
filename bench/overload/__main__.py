"""Peak, overload, recovery, and clients that dawdle, against `salience serve` in a process of its own.

`goodput_of_peak` is told by the mean of the peaks before and after, as the speed of a machine may move in minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from app.cli.docstrings import docstring_documents, standard_library
from bench.overload.attacks import attacked
from bench.overload.traffic import Target, closed_loop, get, open_loop

COMMAND = [sys.executable, "-c", "from app.cli.main import run; run()"]
PEAK_CLIENTS = (8, 16, 32)
RECOVERY_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="of overload")
    parser.add_argument("--times", type=float, default=4.0, help="the peak, that is asked for")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--idle", type=int, default=5000, help="connections that say nothing")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        documents = list(islice(docstring_documents(standard_library()), chosen.documents))
        data = Path(folder) / "data"
        lines = "\n".join(json.dumps({"id": one.id, "title": one.title, "text": one.text}) for one in documents)
        subprocess.run(
            [*COMMAND, "add", "-", "-c", "bench", "-d", str(data)],
            input=lines.encode(),
            check=True,
            capture_output=True,
        )
        queries = [" ".join(one.text.split()[:8]) for one in documents if one.text.split()][:500]
        with _serving(data, chosen.workers, Path(folder) / "log") as (port, pid):
            report = asyncio.run(_measure(Target(port, "bench", queries), pid, chosen))
    print(json.dumps(report, indent=None if chosen.json else 2))


async def _measure(target: Target, pid: int, chosen: argparse.Namespace) -> dict[str, Any]:
    await closed_loop(target, 8, 3.0)  # what is loaded by the first requests
    alone = await closed_loop(target, 1, 3.0)
    stretch = max(5.0, chosen.seconds / 10)
    peaks = {clients: await closed_loop(target, clients, stretch) for clients in PEAK_CLIENTS}
    clients, best = max(peaks.items(), key=lambda one: one[1].goodput)
    peak = best.goodput
    before = _memory(pid)
    watch = asyncio.ensure_future(_watched(target.port, pid))
    loaded = await open_loop(target, chosen.times * peak, chosen.seconds)
    watch.cancel()
    probes, largest = _PROBES, _LARGEST[0]
    recovered = await _recovery(target, 3 * float(np.median(alone.latencies)))
    after = await closed_loop(target, clients, stretch)
    dawdling = await attacked(target, idle=chosen.idle, slow=200, half=200, seconds=8.0)
    goodput = 2 * loaded.goodput / (peak + after.goodput)
    return {
        "peak_a_second": round(peak, 1),
        "peak_by_clients": {str(count): round(one.goodput, 1) for count, one in peaks.items()},
        "peak_afterwards": round(after.goodput, 1),
        "asked_a_second": round(chosen.times * peak, 1),
        "seconds": round(loaded.seconds, 1),
        "goodput_a_second": round(loaded.goodput, 1),
        "goodput_of_peak": round(goodput, 3),
        "cores_of_the_clients": {"peak": round(best.own_cores, 3), "overload": round(loaded.own_cores, 3)},
        "statuses": dict(loaded.statuses),
        "503_without_retry_after": loaded.without_advice,
        "latency_of_good_ms": _percentiles(loaded.latencies),
        "latency_alone_ms": _percentiles(alone.latencies),
        "probes": {name: _told(found) for name, found in probes.items()},
        "recovered_after_s": recovered,
        "memory_mib": {"before": before >> 20, "largest": largest >> 20, "after": _memory(pid) >> 20},
        "dawdling": dawdling,
        "good": goodput >= 0.8 and recovered is not None and recovered <= RECOVERY_SECONDS,
    }


_PROBES: dict[str, list[tuple[int, float]]] = {"/livez": [], "/readyz": [], "/metrics": []}
_LARGEST = [0]


async def _watched(port: int, pid: int) -> None:
    while True:
        for path, found in _PROBES.items():
            status, seconds, _ = await get(port, path)
            found.append((status, seconds))
        _LARGEST[0] = max(_LARGEST[0], _memory(pid))
        await asyncio.sleep(0.5)


async def _recovery(target: Target, usual_seconds: float) -> float | None:
    """Seconds until ten requests in a row are as quick as alone; None: they never are."""
    begun, quick = time.monotonic(), 0
    while time.monotonic() - begun < 4 * RECOVERY_SECONDS:
        one = await closed_loop(target, 1, 0.0001)
        good = bool(one.latencies) and one.latencies[0] <= usual_seconds
        quick = quick + 1 if good else 0
        if quick == 10:
            return round(time.monotonic() - begun, 2)
    return None


def _told(found: list[tuple[int, float]]) -> dict[str, Any]:
    seconds = [took for _, took in found]
    return {
        "asked": len(found),
        "not_200": sum(status != 200 for status, _ in found),
        "ms": _percentiles(seconds),
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"p{share}": round(float(np.percentile(seconds, share)) * 1000, 1) for share in (50, 95, 99)}


def _memory(pid: int) -> int:
    """Bytes that the process and its children hold."""
    total = 0
    for one in (pid, *_children(pid)):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
    return total


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    except OSError:
        return []


@contextmanager
def _serving(data: Path, workers: int, log: Path) -> Iterator[tuple[int, int]]:
    """Port and process number of a server."""
    command = [*COMMAND, "serve", "--port", "0", "--workers", str(workers), "-d", str(data)]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env={**os.environ, "SALIENCE_LOG__LEVEL": "warning"}, stderr=errors)
    try:
        yield _port(process, log), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"listens at http://\S+:(\d+)", log.read_text("utf-8")):
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text('utf-8')}")


if __name__ == "__main__":
    main()
