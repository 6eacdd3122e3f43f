"""Supervises several worker processes that serve one port: starts them, restarts those that die, and stops them all.

Workers are spawned, never forked, since neither torch nor FAISS survives a fork. All accept from one listening socket,
which the supervisor keeps open: when a worker dies, connections that it had not accepted are not lost.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from app.operation.process import METRICS_VARIABLE
from app.operation.sharedmetrics import hold, shared_metrics
from core.backoff import doubled

STOP_SECONDS = 74.0  # for all workers to end once the port is closed; documented for service managers
_FIRST_PAUSE_SECONDS = 1.0  # before a worker that died is restarted; doubled each time
_LONGEST_PAUSE_SECONDS = 30.0
_SOUND_SECONDS = 60.0  # a worker that was ready and lived this long resets the pause
_READY = "ready"
_log = logging.getLogger(__name__)

Serve = Callable[..., None]  # (number, listener, ready, **given): runs a worker until it is told to stop


@dataclass(slots=True)
class _Place:
    """The slot of one worker, which successive processes fill."""

    number: int
    process: BaseProcess | None = None
    link: Connection | None = None  # carries the worker's ready message, and tells it when the supervisor is gone
    ready: bool = False
    started_at: float = 0.0  # by time.monotonic
    deaths: int = 0  # in a row
    again_at: float = 0.0  # when to restart, by time.monotonic


class Supervisor:
    """Runs the workers. For the main thread of a process that does nothing else."""

    def __init__(
        self,
        serve: Serve,
        listener: socket.socket,
        workers: int,
        *,
        threads: int,
        drain_seconds: float,
        **given: Any,
    ) -> None:
        """`serve` and `given` must be picklable.

        `threads`: compute threads of each worker; OMP_NUM_THREADS takes precedence. `drain_seconds`: from the stop
        signal until the port closes, the same as in the workers.
        """
        self._serve = serve
        self._listener = listener
        self._environment = {"OMP_NUM_THREADS": str(threads)}
        self._drain_seconds = drain_seconds
        self._given = given
        self._places = [_Place(number=number) for number in range(workers)]
        self._context = multiprocessing.get_context("spawn")
        self._stopping: int | None = None  # the stop signal, once received
        self._waking, self._woken = self._context.Pipe(duplex=False)

    def run(self, started: Callable[[], None]) -> bool:
        """Run the workers until SIGTERM or SIGINT; `started` is called once, when all are ready.

        Returns whether all were ever ready: if a worker dies before that, all are stopped.
        """
        for name, value in self._environment.items():
            os.environ.setdefault(name, value)  # inherited by the workers: libraries read it when they are loaded
        with self._signals(), shared_metrics() as figures:
            for place in self._places:
                self._start(place)
            said = False
            try:
                while self._stopping is None:
                    self._look(figures)
                    if not said and all(place.ready for place in self._places):
                        said = True
                        started()
                    if not said and any(place.deaths for place in self._places):
                        return False
            finally:
                self._stop()
            return said

    def _start(self, place: _Place) -> None:
        place.link, theirs = self._context.Pipe()
        place.process = self._context.Process(
            target=_work,
            args=(self._serve, place.number, self._listener, theirs, self._given),
            name=f"serve {place.number}",
        )
        place.process.start()
        theirs.close()
        place.ready, place.started_at = False, time.monotonic()

    def _look(self, figures: Path) -> None:
        """Wait for the next event, then restart, clean up or mark as ready the workers concerned."""
        now = time.monotonic()
        alive = [place for place in self._places if place.process is not None]
        pauses = [place.again_at - now for place in self._places if place.process is None]
        links = [place.link for place in alive if place.link is not None and not place.ready]
        ends = [place.process.sentinel for place in alive if place.process is not None]
        wait([self._waking, *links, *ends], max(0.0, min(pauses)) if pauses else None)
        for place in self._places:
            if place.process is None:
                if self._stopping is None and time.monotonic() >= place.again_at:
                    self._start(place)
            elif not place.process.is_alive():
                self._bury(place, figures)
            elif place.link is not None and not place.ready and place.link.poll():
                place.ready = _read(place.link) == _READY

    def _bury(self, place: _Place, figures: Path) -> None:
        assert place.process is not None
        if place.ready and time.monotonic() - place.started_at >= _SOUND_SECONDS:
            place.deaths = 0
        pause = doubled(place.deaths + 1, first=_FIRST_PAUSE_SECONDS, longest=_LONGEST_PAUSE_SECONDS)
        _log.error(
            "worker %s (process %s) ended with exit code %s; it is started anew in %.0f s",
            place.number,
            place.process.pid,
            place.process.exitcode,
            pause,
        )
        mark_process_dead(place.process.pid, str(figures))  # type: ignore[no-untyped-call]  # the library has none here
        place.process.close()
        if place.link is not None:
            place.link.close()
        place.process, place.link, place.ready = None, None, False
        place.deaths, place.again_at = place.deaths + 1, time.monotonic() + pause

    def _stop(self) -> None:
        """Stop all workers at once. Those that do not end in time are killed, which loses nothing acknowledged.

        The listening socket is closed here, too: while any process holds it open, the kernel accepts connections that
        no worker would answer.
        """
        closes = time.monotonic() + self._drain_seconds
        until = closes + STOP_SECONDS
        alive = [place.process for place in self._places if place.process is not None]
        for process in alive:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGTERM)  # not SIGINT, which a terminal sends to the workers itself
        for process in alive:
            process.join(max(0.0, closes - time.monotonic()))
        self._listener.close()
        for process in alive:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                _log.error("process %s did not end within %.0f s: it is killed", process.pid, STOP_SECONDS)
                process.kill()
                process.join()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(number: int, frame: FrameType | None) -> None:
            if self._stopping is None:
                self._stopping = number

        os.set_blocking(self._woken.fileno(), False)
        # Wakes `wait`: the handler alone would not if the signal arrives just before this thread begins to wait.
        woken = signal.set_wakeup_fd(self._woken.fileno())
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)


def _work(serve: Serve, number: int, listener: socket.socket, link: Connection, given: dict[str, Any]) -> None:
    """Run a worker, in its own process. It stops when the supervisor ends, however that happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it serves: the supervisor passes a terminal's SIGINT on
    hold(os.environ[METRICS_VARIABLE])

    def end_with_it() -> None:
        try:
            link.recv()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_it, name="supervisor", daemon=True).start()
    serve(number, listener, lambda: link.send(_READY), **given)


def _read(link: Connection) -> object:
    try:
        return link.recv()
    except (EOFError, OSError):
        return None  # the worker is ending, which its sentinel reports
