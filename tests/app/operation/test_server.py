"""What a server does with itself before the first answer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import cast

import pytest
from fastapi import FastAPI

from app.operation.connections import Connections
from app.operation.process import bound
from app.operation.readiness import Readiness
from app.operation.server import Server


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_nobody_waits_for_what_stays_to_be_looked_through() -> None:
    readiness = cast(Readiness, None)  # it is asked where the server stops
    server = Server(FastAPI(), Connections(most=16, head_seconds=5.0), readiness, drain_seconds=0.0)

    async def frozen() -> tuple[int, int]:
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        with bound("127.0.0.1", 0) as listener:
            await server.startup([listener])
            try:
                return gc.get_freeze_count(), gc.get_threshold()[0]
            finally:
                await server.shutdown([listener])

    thresholds = gc.get_threshold()
    there = len(gc.get_objects())
    count, garbage = asyncio.run(frozen())
    assert count > 0.9 * there
    assert garbage > 10 * thresholds[0], "every second search looks for rings of garbage"
