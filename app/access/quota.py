"""A sliding-window quota on the tokens that an account may have embedded per minute."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.errors import QuotaExceeded

WINDOW_SECONDS = 60.0


class TokenQuota:
    """A sliding one-minute window for each account and model. Thread-safe.

    Each request is remembered for a minute, so that no 60 seconds, wherever they begin, hold more than the quota: fixed
    minutes would let twice as much through around their boundary.
    """

    def __init__(self, tokens_per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic, in seconds."""
        self._limit = tokens_per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str], Window] = {}

    @contextmanager
    def charged(self, account: str, model: str, tokens: int) -> Iterator[None]:
        """Charge the tokens before the block runs, and refund them if the block raises.

        Raises QuotaExceeded, and charges nothing, if these tokens and those of the last minute exceed the quota.
        """
        charge = self._charge(account, model, tokens)
        try:
            yield
        except BaseException:
            with self._lock:
                self._windows[account, model].remove(charge)
            raise

    def _charge(self, account: str, model: str, tokens: int) -> Charge:
        with self._lock:
            now = self._clock()
            window = self._windows.setdefault((account, model), Window())
            used = window.tokens_at(now)
            if used + tokens > self._limit:
                room_at = window.room_at(used + tokens - self._limit)
                raise _exceeded(model, tokens, used, self._limit, None if room_at is None else room_at - now)
            charge = Charge(ends=now + WINDOW_SECONDS, tokens=tokens)
            window.add(charge)
            return charge


@dataclass(eq=False, slots=True)
class Charge:
    """An amount that counts for a minute."""

    ends: float  # when the minute is over, by the clock
    tokens: int


@dataclass(slots=True)
class Window:
    """The charges of the last minute."""

    charges: deque[Charge] = field(default_factory=deque)  # oldest first
    tokens: int = 0  # sum over the charges

    def tokens_at(self, now: float) -> int:
        """Drop expired charges and return the sum of the others."""
        while self.charges and self.charges[0].ends <= now:
            self.tokens -= self.charges.popleft().tokens
        return self.tokens

    def add(self, charge: Charge) -> None:
        self.charges.append(charge)
        self.tokens += charge.tokens

    def remove(self, charge: Charge) -> None:
        if charge in self.charges:  # it may have expired meanwhile
            self.charges.remove(charge)
            self.tokens -= charge.tokens

    def room_at(self, missing: int) -> float | None:
        """Return when `missing` tokens will have expired; None if the window holds fewer."""
        for charge in self.charges:
            missing -= charge.tokens
            if missing <= 0:
                return charge.ends
        return None


def _exceeded(model: str, tokens: int, used: int, limit: int, wait: float | None) -> QuotaExceeded:
    if wait is None:
        return QuotaExceeded(
            f"this request has {tokens} tokens, more than the {limit} of {model} in a minute; send less at once",
            retry_after=None,
        )
    return QuotaExceeded(
        f"{used} of {limit} tokens of {model} were used in the last minute, this request has {tokens}; "
        f"try again in {wait:.0f} s",
        retry_after=wait,
    )
