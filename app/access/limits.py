"""Rate limits of keys: requests and tokens per minute, and concurrent searches.

Minutes are sliding windows, as in app/access/quota.py. Requests are counted when they arrive. Tokens are counted after
a model has read them, forward pass by forward pass, so the request that uses up the tokens still completes, and later
ones are refused until the window has room again.

Every process counts separately. Clients see their limits in the headers RateLimit-Policy and RateLimit
(draft-ietf-httpapi-ratelimit-headers-10).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

from app.access.caller import Caller
from app.access.quota import WINDOW_SECONDS, Charge, Window
from app.errors import QuotaExceeded
from core.context import counted

CHARACTERS_PER_TOKEN = 4  # estimate for texts that no model has read yet
SEARCH_RETRY_SECONDS = 1.0
REQUESTS, TOKENS = "requests", "tokens"


class _Policy(NamedTuple):
    unit: str
    limit: int


class Limiter:
    """Counts the requests, tokens and searches of every account in one process. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic, in seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str], Window] = {}  # by account and unit
        self._searches: dict[str, int] = {}  # running ones, by account

    @contextmanager
    def admitted(self, caller: Caller, *, searches: bool) -> Iterator[None]:
        """Count one request, and during the block the tokens that models read for it.

        `searches`: whether it counts as a concurrent search, too. Raises QuotaExceeded if a limit is reached, and
        counts nothing then.
        """
        policies = _policies(caller)
        most = caller.rights.limits.concurrent_searches if searches else None
        with self._lock:
            running = self._searches.get(caller.account, 0)
            if most is not None and running >= most:
                raise QuotaExceeded(
                    f"{running} searches of this key are going on, and {most} are allowed at once; wait for one",
                    retry_after=SEARCH_RETRY_SECONDS,
                )
            for policy in policies:
                self._check(caller.account, policy)
            self._count(caller.account, REQUESTS, 1, policies)
            if most is not None:
                self._searches[caller.account] = running + 1
        try:
            with self._counting(caller):
                yield
        finally:
            if most is not None:
                with self._lock:
                    self._searches[caller.account] -= 1

    def spend(self, caller: Caller, tokens: int) -> None:
        """Count tokens that a model has read for the caller, or will read."""
        with self._lock:
            self._count(caller.account, TOKENS, tokens, _policies(caller))

    def headers(self, caller: Caller) -> dict[str, str]:
        """Return the response headers with the caller's limits and what is left of them; empty without limits."""
        policies = _policies(caller)
        if not policies:
            return {}
        with self._lock:
            left = [self._left(caller.account, policy) for policy in policies]
        unit = {REQUESTS: "", TOKENS: ';qu="tokens"'}
        return {
            "RateLimit-Policy": ", ".join(
                f'"{p.unit}";q={p.limit}{unit[p.unit]};w={WINDOW_SECONDS:.0f}' for p in policies
            ),
            "RateLimit": ", ".join(
                f'"{policy.unit}";r={remaining};t={reset}'
                for policy, (remaining, reset) in zip(policies, left, strict=True)
            ),
        }

    def _counting(self, caller: Caller) -> AbstractContextManager[None]:
        if caller.rights.limits.tokens_per_minute is None:
            return nullcontext()
        return counted(partial(self.spend, caller))

    def _check(self, account: str, policy: _Policy) -> None:
        window, now = self._window(account, policy.unit), self._clock()
        used = window.tokens_at(now)
        if used < policy.limit:
            return
        room_at = window.room_at(used - policy.limit + 1)
        assert room_at is not None  # the charges add up to at least the amount that is missing
        raise QuotaExceeded(
            f"{used} {policy.unit} of this key were counted in the last minute, and {policy.limit} are allowed; "
            f"try again in {math.ceil(room_at - now)} s",
            retry_after=room_at - now,
        )

    def _count(self, account: str, unit: str, amount: int, policies: list[_Policy]) -> None:
        if amount > 0 and any(policy.unit == unit for policy in policies):
            window, now = self._window(account, unit), self._clock()
            window.tokens_at(now)  # drops expired charges
            window.add(Charge(ends=now + WINDOW_SECONDS, tokens=amount))

    def _left(self, account: str, policy: _Policy) -> tuple[int, int]:
        """Return how much is left, and the seconds until the whole limit is available again."""
        window, now = self._window(account, policy.unit), self._clock()
        used = window.tokens_at(now)
        reset = math.ceil(window.charges[-1].ends - now) if window.charges else 0
        return max(0, policy.limit - used), reset

    def _window(self, account: str, unit: str) -> Window:
        return self._windows.setdefault((account, unit), Window())


def tokens_of(characters: int) -> int:
    """Estimate the number of tokens of a text that no model has read yet."""
    return math.ceil(characters / CHARACTERS_PER_TOKEN)


def _policies(caller: Caller) -> list[_Policy]:
    limits = caller.rights.limits
    named = {REQUESTS: limits.requests_per_minute, TOKENS: limits.tokens_per_minute}
    return [_Policy(unit, limit) for unit, limit in named.items() if limit is not None]
