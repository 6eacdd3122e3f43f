"""Mixed load on `salience serve` for many minutes: memory, open files and threads, and what they do over time."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.ingest.processes import started
from bench.service.servers import free_port
from bench.soak.judgement import Sample, judged
from bench.soak.load import Load

START_SECONDS = 120.0
SAMPLE_SECONDS = 5.0
SAMPLES = 100  # at least, however short the run


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


async def soaked(address: str, pid: int, seconds: float, pace: float = 1.0) -> dict[str, Any]:
    """What became of process `pid`, which serves at `address`, in so many seconds of load.

    The caches that are bounded but fill slowly are filled before; the first half of the time is no evidence either.
    """
    load = Load(address, pace=pace)
    await _answering(load)
    await load.fill()
    await load.fill_caches()
    running = [asyncio.ensure_future(client) for client in load.clients()]
    begun, samples = time.monotonic(), list[Sample]()
    while time.monotonic() - begun < seconds:
        await asyncio.sleep(min(SAMPLE_SECONDS, seconds / SAMPLES))
        samples.append(_sample(pid, (time.monotonic() - begun) / 60, await load.caches()))
    for task in running:
        task.cancel()
    for ended in await asyncio.gather(*running, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError):
            raise SystemExit(f"a client ended before its time: {ended!r}")
    await load.close()
    counted = {"requests": dict(sorted(load.counted.items())), "unexpected": dict(load.unexpected)}
    return {**judged(samples), **counted}


async def _answering(load: Load) -> None:
    until = time.monotonic() + START_SECONDS
    while not await load.answers():
        if time.monotonic() > until:
            raise SystemExit("the server did not start")
        await asyncio.sleep(0.2)


def _sample(pid: int, minute: float, caches: float) -> Sample:
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    own = int(fields["RssAnon"][0]) / 1024
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(
        minute=round(minute, 3),
        own_mib=round(own, 1),
        caches_mib=round(caches / 2**20, 1),
        files=files,
        threads=int(fields["Threads"][0]),
    )


if __name__ == "__main__":
    main()
