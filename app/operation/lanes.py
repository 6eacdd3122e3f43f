"""A lane limits how many requests run at once, and how many wait for how long; others are told to retry later."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from core.errors import SalienceError

_SMOOTHING = 0.1  # weight of the newest request in the moving mean of durations
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
    """The client has disconnected, so there is nobody to answer."""


class Lane:
    """Requests of one kind in one process. For one event loop; first come, first served."""

    def __init__(self, name: str, *, at_once: int, waiting: int, seconds: float, refused: Observe) -> None:
        """Create a lane that serves `at_once` requests at a time.

        `waiting`: how many more may wait; `seconds`: how long each of them waits at most. `refused`: called for each
        request that is not served, with the reason "full", "late" or "gone".
        """
        self.name = name
        self.at_once = at_once
        self._most_waiting = waiting
        self._seconds = seconds
        self._refused = refused
        self._line: deque[asyncio.Future[None]] = deque()
        self.running = 0
        self._expected = 0  # requests that will arrive in the next turn of the loop
        self._mean_seconds = 0.0  # moving mean of the duration of a request

    @property
    def waiting(self) -> int:
        return len(self._line)

    def check_room(self) -> None:
        """Raise Overloaded, and count the refusal, if the lane and its queue are full."""
        if self._left() <= 0:
            self.count_refusal()
            raise self.overloaded()

    def expect(self) -> bool:
        """Reserve room for a request that arrives in the event loop's next turn; returns whether there is room.

        When the loop was held up, it reads many requests in one turn: without reservations all would see the same room.
        """
        if self._left() <= self._expected:
            return False
        if not self._expected:  # scheduled first, so the reset runs before the tasks of the expected requests
            asyncio.get_running_loop().call_soon(self._expect_none)
        self._expected += 1
        return True

    def count_refusal(self) -> None:
        """Count a request that found the lane full."""
        self._refused(self.name, "full")

    def overloaded(self) -> Overloaded:
        """Return the error for a request that finds the lane full."""
        return self._overloaded(f"{self.at_once} requests are served and {self._most_waiting} wait")

    @property
    def retry_after(self) -> float:
        """Whole seconds after which there may be room, from 1 to 30."""
        ahead = self._mean_seconds * (len(self._line) + self.running) / self.at_once
        return min(max(1.0, math.ceil(ahead)), _LONGEST_ADVICE_SECONDS)

    @asynccontextmanager
    async def place(self, gone: asyncio.Event, seconds: float | None) -> AsyncIterator[None]:
        """Hold one of the places during the block, after waiting for it if necessary.

        `gone`: set when the client disconnects. `seconds`: the longest that this request waits; None: as long as the
        lane allows. Raises Overloaded, Left.
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

    def _left(self) -> int:
        return self.at_once - self.running + self._most_waiting - len(self._line)

    def _expect_none(self) -> None:
        self._expected = 0

    def _pass_on(self) -> None:
        """Give the place to the next in line, or free it."""
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
                self._pass_on()  # the place was granted in this moment, and is not needed
            elif turn in self._line:
                self._line.remove(turn)
            raise
        finally:
            leaving.cancel()

    def _overloaded(self, why: str) -> Overloaded:
        retry_after = self.retry_after
        return Overloaded(f"{why}: this server is busy; try again in {retry_after:.0f} s", retry_after=retry_after)
