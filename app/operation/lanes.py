"""So many requests at once, so many that wait, and so long: who is beyond that is told to come back."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from core.errors import SalienceError

_SMOOTHING = 0.1  # the newest request's share of the mean time
_LONGEST_ADVICE_SECONDS = 30.0

Observe = Callable[[str, str], None]  # name of the lane, and why a request was not served


class Overloaded(SalienceError):
    """More requests wait than this server takes on; try again after the time that Retry-After says."""

    code = "overloaded"
    retryable = True

    def __init__(self, message: str | None = None, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Left(Exception):
    """Whoever sent the request has left, and nobody is to be answered."""


class Lane:
    """Requests of one kind in one process. For one event loop; first come, first served."""

    def __init__(self, name: str, *, at_once: int, waiting: int, seconds: float, refused: Observe) -> None:
        """`waiting`: requests beside those `at_once`; `seconds` that each of them waits at most."""
        self.name = name
        self.at_once = at_once
        self._most_waiting = waiting
        self._seconds = seconds
        self._refused = refused
        self._line: deque[asyncio.Future[None]] = deque()
        self.running = 0
        self._mean_seconds = 0.0  # that a request takes, lately

    @property
    def waiting(self) -> int:
        return len(self._line)

    def check_room(self) -> None:
        """Raises Overloaded where there is neither a place nor one to wait in."""
        if (self.running >= self.at_once or self._line) and len(self._line) >= self._most_waiting:
            self._refused(self.name, "full")
            raise self._overloaded(f"{self.running} requests are served and {len(self._line)} wait")

    @asynccontextmanager
    async def place(self, gone: asyncio.Event, seconds: float | None) -> AsyncIterator[None]:
        """One of the places, for the length of the block.

        `gone`: whether the caller has left. `seconds`: that it has, None: any number. Raises Overloaded, Left.
        """
        if self.running < self.at_once and not self._line:
            self.running += 1
        else:
            await self._wait(gone, seconds)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            yield
        finally:
            self._mean_seconds += _SMOOTHING * (loop.time() - begun - self._mean_seconds)
            self._pass_on()

    def _pass_on(self) -> None:
        """The place goes to the next in line, or is free."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1

    async def _wait(self, gone: asyncio.Event, seconds: float | None) -> None:
        self.check_room()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        leaving = asyncio.ensure_future(gone.wait())
        longest = self._seconds if seconds is None else min(self._seconds, seconds)
        try:
            await asyncio.wait((turn, leaving), timeout=max(0.0, longest), return_when=asyncio.FIRST_COMPLETED)
            if gone.is_set():
                self._refused(self.name, "gone")
                raise Left
            if not turn.done():
                self._refused(self.name, "late")
                raise self._overloaded(f"no place came free in {longest:g} seconds")
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it came just now, and is not needed
            elif turn in self._line:
                self._line.remove(turn)
            raise
        finally:
            leaving.cancel()

    def _overloaded(self, why: str) -> Overloaded:
        ahead = self._mean_seconds * (len(self._line) + self.running) / self.at_once
        retry_after = min(max(1.0, math.ceil(ahead)), _LONGEST_ADVICE_SECONDS)
        return Overloaded(f"{why}: this server is busy; try again in {retry_after:.0f} s", retry_after=retry_after)
