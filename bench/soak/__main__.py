"""Mixed load on `salience serve` for many minutes: memory, open files and threads, and what they do over time."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.ingest.processes import started
from bench.service.servers import free_port
from bench.soak.load import Load

START_SECONDS = 120.0
SAMPLE_SECONDS = 5.0
WARM_UP = 0.4  # of the time: caches fill, and the allocator finds its size
STEADY = 0.03  # of the memory after the warm-up, that may be added or taken until the end
STEADY_FILES = 3  # as much: connections of clients come and go


@dataclass(frozen=True, slots=True)
class Sample:
    minute: float
    own_mib: float  # anonymous memory: mapped files are the system's to take back
    traces_mib: float  # of it, kept traces of explanations: they fill up to a bound of their own, which takes long
    files: int
    threads: int


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--pace", type=float, default=1.0, help="how many times as often as usual clients ask")
    parser.add_argument("--json", action="store_true", help="on one line")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        with started("serve", "--port", str(port), data_dir=Path(folder) / "data") as process:
            report = asyncio.run(soaked(f"http://127.0.0.1:{port}", process.pid, chosen.minutes * 60, chosen.pace))
    print(json.dumps(report, indent=None if chosen.json else 2))


async def soaked(
    address: str, pid: int, seconds: float, pace: float = 1.0, *, sample_seconds: float = SAMPLE_SECONDS
) -> dict[str, Any]:
    """What became of process `pid`, which serves at `address`, in so many seconds of load."""
    load = Load(address, pace=pace)
    await _answering(load)
    await load.fill()
    running = [asyncio.ensure_future(client) for client in load.clients()]
    begun, samples = time.monotonic(), list[Sample]()
    while time.monotonic() - begun < seconds:
        await asyncio.sleep(sample_seconds)
        samples.append(_sample(pid, (time.monotonic() - begun) / 60, await load.traces()))
    for task in running:
        task.cancel()
    for ended in await asyncio.gather(*running, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError):
            raise SystemExit(f"a client ended before its time: {ended!r}")
    await load.close()
    counted = {"requests": dict(sorted(load.counted.items())), "unexpected": dict(load.unexpected)}
    return {**judged(samples), **counted}


def judged(samples: Sequence[Sample]) -> dict[str, Any]:
    """Whether they are flat: the straight line through those after the warm-up hardly rises until the end.

    Of the memory, what is not kept traces.
    """
    steady = samples[int(len(samples) * WARM_UP) :]
    minutes = np.array([sample.minute for sample in steady])
    report: dict[str, Any] = {"minutes": round(samples[-1].minute, 2)}
    flat = True
    for name, allowed in (("own_mib", None), ("files", STEADY_FILES), ("threads", STEADY_FILES)):
        values = np.array([float(getattr(sample, name)) for sample in steady])
        if name == "own_mib":
            values -= [sample.traces_mib for sample in steady]
        slope, at_zero = np.polyfit(minutes, values, 1)
        at_warm_up = slope * minutes[0] + at_zero
        added = slope * (minutes[-1] - minutes[0])
        most = STEADY * at_warm_up if allowed is None else allowed
        flat = flat and bool(added <= most)
        report[name] = {
            "first": getattr(samples[0], name),
            "after_warm_up": round(float(at_warm_up), 1),
            "largest": max(getattr(sample, name) for sample in samples),
            "last": getattr(samples[-1], name),
            "a_minute": round(float(slope), 3),
        }
    return {"flat": flat, **report, "samples": [asdict(sample) for sample in samples[:: max(1, len(samples) // 40)]]}


async def _answering(load: Load) -> None:
    until = time.monotonic() + START_SECONDS
    while not await load.answers():
        if time.monotonic() > until:
            raise SystemExit("the server did not start")
        await asyncio.sleep(0.2)


def _sample(pid: int, minute: float, traces: float) -> Sample:
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    own = int(fields["RssAnon"][0]) / 1024
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(
        minute=round(minute, 3),
        own_mib=round(own, 1),
        traces_mib=round(traces / 2**20, 1),
        files=files,
        threads=int(fields["Threads"][0]),
    )


if __name__ == "__main__":
    main()
