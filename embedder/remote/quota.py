"""The remote's quota of requests and tokens a minute, kept by a token bucket for each."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

BURST = 6  # a full bucket holds the sixth part of a minute's quota; the rest flows in over the minute


class Quota:
    """Says how long a request has to wait so that no minute, wherever it begins, sees more than the quota.

    A bucket of capacity c, filled at (quota - c) / 60 a second, lets at most c + (quota - c) pass in any minute, if no
    request costs more than c. One that does waits until all that it costs has flowed in. Shared by all threads; first
    come, first served.
    """

    def __init__(
        self, *, requests_per_minute: int | None, tokens_per_minute: int | None, clock: Callable[[], float]
    ) -> None:
        """`clock`: seconds, never going back. None: no limit."""
        self._clock = clock
        self._lock = threading.Lock()
        self._requests = None if requests_per_minute is None else _Bucket(requests_per_minute, clock())
        self._tokens = None if tokens_per_minute is None else _Bucket(tokens_per_minute, clock())
        self._closed_until = clock()

    @property
    def token_capacity(self) -> float:
        """Tokens that a request may have to be let through at once."""
        return math.inf if self._tokens is None else self._tokens.capacity

    def reserve(self, tokens: int, *, patience: float) -> float:
        """Seconds to wait before a request of so many tokens may go. Above `patience`, nothing was reserved."""
        with self._lock:
            now = self._clock()
            costs = [(bucket, cost) for bucket, cost in ((self._requests, 1), (self._tokens, tokens)) if bucket]
            wait = max([self._closed_until - now, 0.0, *(bucket.wait(cost, now) for bucket, cost in costs)])
            if wait <= patience:
                for bucket, cost in costs:
                    bucket.level -= cost
            return wait

    def pause(self, seconds: float) -> None:
        """No request goes before so many seconds are over: the remote asked for it."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)

    def settle(self, reserved: int, used: int) -> None:
        """The request took another number of tokens than was reserved for it.

        What it took above that leaves a bucket at minus its capacity at worst: no count stops the model for long.
        """
        with self._lock:
            if self._tokens is not None:
                worst = min(self._tokens.level, -self._tokens.capacity)
                self._tokens.level = max(worst, self._tokens.level + reserved - used)


class _Bucket:
    def __init__(self, per_minute: int, now: float) -> None:
        self.capacity = max(1.0, per_minute / BURST)
        self.rate = max(per_minute - self.capacity, per_minute / 2) / 60  # a quota of 1 leaves nothing to flow in
        self.level = self.capacity
        self._filled_at = now

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` is covered."""
        self.level = min(self.capacity, self.level + (now - self._filled_at) * self.rate)
        self._filled_at = now
        return max(0.0, (cost - self.level) / self.rate)
