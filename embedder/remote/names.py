"""Assigns ids to the tokens of remotes that identify tokens only by their text."""

from __future__ import annotations

import hashlib
import threading

MAX_NAMES = 1_000_000  # remembered names: more than any vocabulary has; a remote that sends whole words may have more


class TokenNames:
    """Maps tokens to ids that are the same in every process: 31 bits of a hash of the token. Thread-safe.

    In a vocabulary of 250,000 tokens about 15 pairs share an id, and are one token to the index. Names are remembered
    from answers: those of a query's terms are always known, those of an older passage only once they occur again.
    """

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._lock = threading.Lock()
        self._names: dict[int, str] = {}

    def id(self, token: str) -> int:
        """The id of a token, 0 to 2^31 - 1; remembers its name."""
        digest = hashlib.blake2b(token.encode("utf-8", errors="surrogatepass"), digest_size=4).digest()
        id = int.from_bytes(digest, "big") >> 1
        with self._lock:
            self._names.pop(id, None)
            self._names[id] = token  # moved to the end: the most recent names are kept
            if len(self._names) > self._max_names:
                del self._names[next(iter(self._names))]
        return id

    def name(self, id: int) -> str:
        """The token of an id, or `#id` if it is not known."""
        with self._lock:
            return self._names.get(id, f"#{id}")
