"""Measure peak load, overload, recovery and slow clients on `salience serve` in a process of its own.

`goodput_of_peak` relates the goodput under overload to the mean of the peaks before and after, as a machine's speed may
change within minutes. `good`: it is at least 0.8, and answers are fast again within 5 s. Memory is that of all
processes of the server (`proportional` in bench.memory). `wrong`: answers that overload does not justify.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from app.cli.docstrings import docstring_documents, standard_library
from bench.command import Report, add_json, tell
from bench.memory import proportional
from bench.overload.attacks import attacked
from bench.overload.traffic import Outcome, Target, closed_loop, get, open_loop
from bench.processes import end_when_told, serving, started

PEAK_CLIENTS = (8, 16, 32)
RECOVERY_SECONDS = 5.0
PROBES = ("/livez", "/readyz", "/metrics")
EXPECTED = ("200", "503", "gave up")  # of searches under overload


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="of overload")
    parser.add_argument("--times", type=float, default=4.0, help="the peak, that is asked for")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--idle", type=int, default=5000, help="connections that say nothing")
    parser.add_argument("--quick", action="store_true", help="seconds: shows that it runs, not what it bears")
    add_json(parser)
    chosen = parser.parse_args(arguments)
    end_when_told()
    if chosen.quick:
        chosen.seconds, chosen.documents = 2.0, 100
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), chosen)
    tell(report, as_json=chosen.json)


def run(folder: Path, chosen: argparse.Namespace) -> Report:
    """Index docstrings of Python's library, start a server on them, and measure it."""
    documents = list(islice(docstring_documents(standard_library()), chosen.documents))
    file, data = folder / "documents.jsonl", folder / "data"
    file.write_text(
        "\n".join(json.dumps({"id": one.id, "title": one.title, "text": one.text}) for one in documents), "utf-8"
    )
    with started("add", str(file), "-c", "bench", data_dir=data) as adding:
        if adding.wait() != 0:
            raise RuntimeError((folder / "add.log").read_text("utf-8"))
    queries = [" ".join(one.text.split()[:8]) for one in documents][:500]
    quiet = {"SALIENCE_LOG__LEVEL": "warning"}
    with serving("--workers", str(chosen.workers), data_dir=data, environment=quiet) as (port, process):
        return asyncio.run(_measure(Target(port, "bench", queries), process.pid, chosen))


async def _measure(target: Target, pid: int, chosen: argparse.Namespace) -> Report:
    settle = 0.3 if chosen.quick else 3.0
    await closed_loop(target, 8, settle)  # warm up
    alone = await closed_loop(target, 1, settle)
    stretch = 0.5 if chosen.quick else max(5.0, chosen.seconds / 10)
    peaks = {clients: await closed_loop(target, clients, stretch) for clients in PEAK_CLIENTS}
    clients, best = max(peaks.items(), key=lambda one: one[1].goodput)
    peak = best.goodput
    before, beside = proportional(pid), Observed()
    watch = asyncio.ensure_future(_watched(target.port, pid, beside))
    loaded = await open_loop(target, chosen.times * peak, chosen.seconds)
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch
    recovered = await _recovery(target, 3 * float(np.median(alone.latencies)))
    after = await closed_loop(target, clients, stretch)
    if chosen.quick:
        dawdling = await attacked(target, idle=50, slow=5, half=5, seconds=1.0, patience=1.0)
    else:
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
        "probes": {name: _told(found) for name, found in beside.probes.items()},
        "recovered_after_s": recovered,
        "memory_mib": {"before": before >> 20, "largest": beside.largest >> 20, "after": proportional(pid) >> 20},
        "dawdling": dawdling,
        "good": goodput >= 0.8 and recovered is not None and recovered <= RECOVERY_SECONDS,
        "wrong": _wrong(loaded, beside),
    }


@dataclass(slots=True)
class Observed:
    """What was observed during the load: status and seconds of each probe, and the peak memory in bytes."""

    probes: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: {path: [] for path in PROBES})
    largest: int = 0


async def _watched(port: int, pid: int, beside: Observed) -> None:
    while True:
        for path, found in beside.probes.items():
            status, seconds, _ = await get(port, path)
            found.append((status, seconds))
        beside.largest = max(beside.largest, proportional(pid))
        await asyncio.sleep(0.5)


def _wrong(loaded: Outcome, beside: Observed) -> list[str]:
    """Unexpected answers. Under overload, requests may time out or get a 503 with Retry-After, but nothing else."""
    wrong = [f"{count} times: {status}" for status, count in loaded.statuses.items() if status not in EXPECTED]
    if loaded.without_advice:
        wrong.append(f"{loaded.without_advice} times: 503 without Retry-After")
    for path, found in beside.probes.items():
        wrong += [f"{path}: {status or 'no answer'}" for status, _ in found if status != 200]
    return wrong


async def _recovery(target: Target, usual_seconds: float) -> float | None:
    """Seconds until ten requests in a row take at most `usual_seconds`; None if they never do."""
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


if __name__ == "__main__":
    main()
