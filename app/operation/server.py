"""The uvicorn server, with its timeouts, and a shutdown that reports "not ready" before the port closes."""

from __future__ import annotations

import gc
import signal
import socket
import time
from types import FrameType
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from app.operation.connections import Connections
from app.operation.readiness import Readiness

STOP_SECONDS = 30  # for running requests to be answered on shutdown
KEEP_ALIVE_SECONDS = 75  # longer than in clients (5 s) and balancers (60 s): else a request may meet the closing
BACKLOG = 2048
GARBAGE = 20_000  # new objects until the garbage collector runs; Python's default, 700, is reached by a single search


class Server(uvicorn.Server):
    """A server that on SIGTERM fails /readyz at once and closes the port `drain_seconds` later; on SIGINT at once."""

    def __init__(self, app: FastAPI, connections: Connections, readiness: Readiness, *, drain_seconds: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=cast("Any", connections.protocol),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=STOP_SECONDS,
                backlog=BACKLOG,
                lifespan="on",
            )
        )
        self._readiness = readiness
        self._drain_seconds = drain_seconds
        self._closes_at: float | None = None  # by time.monotonic

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.set_threshold(GARBAGE)
        gc.freeze()  # exempts some 300,000 permanent objects: collecting them stops all threads for a quarter second

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._readiness.stop()
        if sig == signal.SIGTERM and self._closes_at is None and not self.should_exit and self._drain_seconds:
            self._captured_signals.append(sig)
            self._closes_at = time.monotonic() + self._drain_seconds
            return
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._closes_at is not None and time.monotonic() >= self._closes_at:
            self.should_exit = True
        return await super().on_tick(counter)
