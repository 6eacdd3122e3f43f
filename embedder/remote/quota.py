"""Rate limiting: keeps to a remote's quota of requests and tokens per minute with one token bucket for each."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

BURST = 6  # a full bucket holds a sixth of a minute's quota; the rest is added over the minute


class Quota:
    """Tells how long a request has to wait so that the quota is not exceeded in any period of 60 seconds.

    A bucket of capacity c, filled at (quota - c) / 60 per second, lets at most c + (quota - c) pass in any minute, if
    no request costs more than c. A request that costs more waits until its whole cost has been added. Thread-safe;
    first come, first served.
    """

    def __init__(
        self, *, requests_per_minute: int | None, tokens_per_minute: int | None, clock: Callable[[], float]
    ) -> None:
        """`clock`: a monotonic clock, in seconds. A limit of None means no limit."""
        self._clock = clock
        self._lock = threading.Lock()
        self._requests = None if requests_per_minute is None else _Bucket(requests_per_minute, clock())
        self._tokens = None if tokens_per_minute is None else _Bucket(tokens_per_minute, clock())
        self._closed_until = clock()

    @property
    def token_capacity(self) -> float:
        """The largest number of tokens of a request that a full bucket lets through at once."""
        return math.inf if self._tokens is None else self._tokens.capacity

    def reserve(self, tokens: int, *, patience: float) -> float:
        """Reserves a request of so many tokens; returns the seconds to wait before sending it.

        If that is above `patience` (seconds), nothing is reserved.
        """
        with self._lock:
            now = self._clock()
            costs = [(bucket, cost) for bucket, cost in ((self._requests, 1), (self._tokens, tokens)) if bucket]
            wait = max([self._closed_until - now, 0.0, *(bucket.wait(cost, now) for bucket, cost in costs)])
            if wait <= patience:
                for bucket, cost in costs:
                    bucket.level -= cost
            return wait

    def pause(self, seconds: float) -> None:
        """Holds back all requests for so many seconds, as the remote asked for."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)

    def settle(self, reserved: int, used: int) -> None:
        """Corrects the bucket for a request that used `used` tokens instead of the `reserved` ones.

        This takes the level to minus the capacity at worst, so that no reported count blocks the model for long.
        """
        with self._lock:
            if self._tokens is not None:
                worst = min(self._tokens.level, -self._tokens.capacity)
                self._tokens.level = max(worst, self._tokens.level + reserved - used)


class _Bucket:
    def __init__(self, per_minute: int, now: float) -> None:
        self.capacity = max(1.0, per_minute / BURST)
        self.rate = max(per_minute - self.capacity, per_minute / 2) / 60  # with a quota of 1 the difference is 0
        self.level = self.capacity
        self._filled_at = now

    def wait(self, cost: float, now: float) -> float:
        """Seconds until the level reaches `cost`."""
        self.level = min(self.capacity, self.level + (now - self._filled_at) * self.rate)
        self._filled_at = now
        return max(0.0, (cost - self.level) / self.rate)
