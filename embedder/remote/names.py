"""Ids for tokens that a remote knows by their text alone."""

from __future__ import annotations

import hashlib
import threading

MAX_NAMES = 1_000_000  # remembered: more than any vocabulary has, less than a remote that sends whole words may


class TokenNames:
    """Ids that are the same in every process and after every restart: 31 bits of a hash of the token. Thread-safe.

    In a vocabulary of 250,000 tokens about 15 pairs share an id, and are one token to the index. Names are remembered
    from the answers: a query's terms are always known, those of an old passage once a text brings them again.
    """

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._lock = threading.Lock()
        self._names: dict[int, str] = {}

    def id(self, token: str) -> int:
        """0 to 2^31 - 1."""
        digest = hashlib.blake2b(token.encode("utf-8", errors="surrogatepass"), digest_size=4).digest()
        id = int.from_bytes(digest, "big") >> 1
        with self._lock:
            self._names.pop(id, None)
            self._names[id] = token  # at the end: the latest are kept
            if len(self._names) > self._max_names:
                del self._names[next(iter(self._names))]
        return id

    def name(self, id: int) -> str:
        """The token of an id, or `#id` where it is not known."""
        with self._lock:
            return self._names.get(id, f"#{id}")
