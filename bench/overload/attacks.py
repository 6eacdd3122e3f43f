"""Hostile or broken clients: idle connections, and request heads and bodies that never end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from bench.overload.traffic import Target, closed_loop, closed_within, get

HEAD = b"POST /v1/collections/bench/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
HALF = HEAD + b"Content-Length: 10000\r\n\r\n" + b'{"query": "'


async def attacked(
    target: Target, *, idle: int, slow: int, half: int, seconds: float, patience: float = 16.0
) -> dict[str, Any]:
    """What well-behaved clients get during `seconds` of attack, and how many bad connections the server has closed.

    The attackers' connections are watched for `patience` seconds.
    """
    kinds: dict[str, tuple[int, Callable[[asyncio.StreamWriter], Any]]] = {
        "idle": (idle, _nothing),
        "slow_loris": (slow, _drip_head),
        "half_requests": (half, _half),
    }
    opened: dict[str, list[asyncio.StreamReader]] = {}
    writers: list[asyncio.StreamWriter] = []
    dripping: list[asyncio.Task[None]] = []
    for name, (count, do) in kinds.items():
        opened[name] = []
        for _ in range(count):
            try:
                reader, writer = await target.connect()
            except OSError:
                break
            opened[name].append(reader)
            writers.append(writer)
            dripping.append(asyncio.ensure_future(do(writer)))
    begun = time.monotonic()
    good, health, metrics = await asyncio.gather(
        closed_loop(target, 4, seconds), get(target.port, "/livez"), get(target.port, "/metrics")
    )
    left = max(0.1, patience - (time.monotonic() - begun))  # the server's time limit for a head is 10 s
    closed = {
        name: await asyncio.gather(*(closed_within(reader, left) for reader in readers))
        for name, readers in opened.items()
    }
    for task in dripping:
        task.cancel()
    for writer in writers:
        writer.close()
    return {
        "opened": {name: len(readers) for name, readers in opened.items()},
        "closed_by_server": {name: sum(one is not None for one in ends) for name, ends in closed.items()},
        "goodput_meanwhile": round(good.goodput, 1),
        "statuses_meanwhile": dict(good.statuses),
        "livez": [health[0], round(health[1], 3)],
        "metrics": [metrics[0], round(metrics[1], 3)],
    }


async def _nothing(writer: asyncio.StreamWriter) -> None:
    """Send nothing."""


async def _drip_head(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.write(HEAD)
        while not writer.is_closing():
            writer.write(b"X-A: b\r\n")
            await writer.drain()
            await asyncio.sleep(1.0)


async def _half(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.write(HALF)
        await writer.drain()
