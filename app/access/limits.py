"""What a key may use in a minute, and at once; told in the headers RateLimit-Policy and RateLimit.

Minutes slide, as those of app/access/quota.py. Requests are counted as they come. Tokens are counted when a model has
read them, forward pass by forward pass: a key that has used up its tokens waits until the minute lets it go on.

Every process counts by itself. Header fields: draft-ietf-httpapi-ratelimit-headers-10.
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

CHARACTERS_PER_TOKEN = 4  # of what no model has read yet
SEARCH_RETRY_SECONDS = 1.0
REQUESTS, TOKENS = "requests", "tokens"


class _Policy(NamedTuple):
    unit: str
    limit: int


class Limiter:
    """Of one process. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, never going back."""
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str], Window] = {}  # by account and unit
        self._searches: dict[str, int] = {}  # by account, those that are going on

    @contextmanager
    def admitted(self, caller: Caller, *, searches: bool) -> Iterator[None]:
        """One request is going on, and what models read for it is counted.

        Raises QuotaExceeded where it is one too many, and counts nothing then.
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
        """A model has read so many tokens for the caller, or will."""
        with self._lock:
            self._count(caller.account, TOKENS, tokens, _policies(caller))

    def headers(self, caller: Caller) -> dict[str, str]:
        """What the caller's limits are, and what is left of them; nothing where there are none."""
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
        assert room_at is not None  # what is used up runs out
        raise QuotaExceeded(
            f"{used} {policy.unit} of this key were counted in the last minute, and {policy.limit} are allowed; "
            f"try again in {math.ceil(room_at - now)} s",
            retry_after=room_at - now,
        )

    def _count(self, account: str, unit: str, amount: int, policies: list[_Policy]) -> None:
        if amount > 0 and any(policy.unit == unit for policy in policies):
            window, now = self._window(account, unit), self._clock()
            window.tokens_at(now)  # drops what has run out
            window.add(Charge(ends=now + WINDOW_SECONDS, tokens=amount))

    def _left(self, account: str, policy: _Policy) -> tuple[int, int]:
        """What is left, and seconds until all of it is there again."""
        window, now = self._window(account, policy.unit), self._clock()
        used = window.tokens_at(now)
        reset = math.ceil(window.charges[-1].ends - now) if window.charges else 0
        return max(0, policy.limit - used), reset

    def _window(self, account: str, unit: str) -> Window:
        return self._windows.setdefault((account, unit), Window())


def tokens_of(characters: int) -> int:
    """About how many tokens a text has that no model has read yet."""
    return math.ceil(characters / CHARACTERS_PER_TOKEN)


def _policies(caller: Caller) -> list[_Policy]:
    limits = caller.rights.limits
    named = {REQUESTS: limits.requests_per_minute, TOKENS: limits.tokens_per_minute}
    return [_Policy(unit, limit) for unit, limit in named.items() if limit is not None]
