"""Put mixed load on `salience serve` for many minutes, and watch its memory, open files and threads over time.

Memory is the process's own (`resident` in bench.memory). `wrong`: unexpected answers, and quantities that grow.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.command import Report, add_json, tell
from bench.memory import resident
from bench.processes import end_when_told, serving
from bench.soak.judgement import JUDGED, Sample, judged
from bench.soak.load import Load

SAMPLE_SECONDS = 5.0
SAMPLES = 100  # at least, however short the run


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--pace", type=float, default=1.0, help="how many times as often as usual clients ask")
    add_json(parser)
    chosen = parser.parse_args(arguments)
    end_when_told()
    with tempfile.TemporaryDirectory() as folder, serving(data_dir=Path(folder) / "data") as (port, process):
        report = asyncio.run(soaked(f"http://127.0.0.1:{port}", process.pid, chosen.minutes * 60, chosen.pace))
    tell(report, as_json=chosen.json)


async def soaked(address: str, pid: int, seconds: float, pace: float = 1.0) -> Report:
    """The report on process `pid`, which serves at `address`, during `seconds` of load.

    Bounded caches that fill slowly are filled before; the first half of the time is a warm-up and is not judged.
    """
    load = Load(address, pace=pace)
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
    report = judged(samples)
    wrong = [f"{count} times: {answer}" for answer, count in load.unexpected.items()]
    wrong += [f"{name} grows" for name in JUDGED if report[name]["verdict"] == "grows"]
    return {**report, **counted, "wrong": wrong}


def _sample(pid: int, minute: float, caches: float) -> Sample:
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(
        minute=round(minute, 3),
        own_mib=round(resident(pid).own / 2**20, 1),
        caches_mib=round(caches / 2**20, 1),
        files=files,
        threads=int(fields["Threads"][0]),
    )


if __name__ == "__main__":
    main()
