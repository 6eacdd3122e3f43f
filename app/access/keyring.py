"""A process's cached copy of the API keys, refreshed by incoming requests at most every half second.

A revoked key therefore stops working within a second in every process, while most requests do not touch the database.
A request with an unknown token may carry a key that another process has just created: such requests refresh the copy
at most a hundred times a second.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from app.access.caller import ANONYMOUS, TOKEN, Caller
from app.errors import Unauthorized
from app.periodic import periodically
from core.access import ApiKey, Rights, Role, digest_of, split_token
from core.errors import StorageError
from store.database import Database
from store.keys import keys_revision, list_keys, note_use

REFRESH_SECONDS = 0.5
NEWEST_SECONDS = 0.01  # age up to which the copy is new enough to refuse an unknown token
NOTED_SECONDS = 60.0  # between two writes of when keys were last used
_log = logging.getLogger(__name__)


class _Known(NamedTuple):
    key: ApiKey
    account: str  # that limits are counted for


class KeyRing:
    """The cached keys, and the tokens of the settings. Thread-safe.

    `refresh`, `look_again` and `check_still` may read the database, and `note` writes to it; nothing else uses it.
    """

    def __init__(
        self,
        database: Database,
        tokens: Sequence[str],
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tokens`: those of the settings, which grant every right. `now`: seconds since 1970."""
        self._database = database
        self._tokens = [token.encode() for token in tokens]
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._revision = 0
        self._keys: Mapping[str, _Known] = {}  # by prefix; replaced as a whole, never mutated
        self._nobodys = _Known(_nobodys_key(), "")
        self._used: dict[int, float] = {}

    @property
    def fresh(self) -> bool:
        """Whether the keys were read within the last half second."""
        return self._read_at is not None and self._clock() - self._read_at < REFRESH_SECONDS

    @property
    def newest(self) -> bool:
        """Whether the keys are new enough to refuse a token that is not among them."""
        return self._read_at is not None and self._clock() - self._read_at < NEWEST_SECONDS

    @property
    def known(self) -> bool:
        """Whether the keys have ever been read."""
        return self._read_at is not None

    @property
    def guarded(self) -> bool:
        """Whether callers must authenticate: there are tokens, or a key has ever been created."""
        return bool(self._tokens or self._revision)

    @property
    def has_tokens(self) -> bool:
        """Whether the settings have tokens, so that keys are not the only way to administer the server."""
        return bool(self._tokens)

    def refresh(self, *, at_once: bool = False) -> None:
        """Read changed keys, unless the copy is fresh; `at_once`: even then. Raises StorageError."""
        self._read_unless(lambda: self.fresh and not at_once)

    def look_again(self) -> None:
        """Read changed keys, unless they are `newest`: call it before refusing a token. Raises StorageError."""
        self._read_unless(lambda: self.newest)

    def _read_unless(self, enough: Callable[[], bool]) -> None:
        with self._lock:
            if enough():
                return
            began = self._clock()
            with self._database.read() as session:
                revision = keys_revision(session)
                if revision != self._revision:
                    keys = list_keys(session)
                    accounts = _accounts(keys)
                    self._keys = {key.prefix: _Known(key, accounts[key.id]) for key in keys}
                    self._revision = revision
            self._read_at = began

    def caller(self, credential: str | None) -> Caller | None:
        """Return the caller that this bearer token authenticates; None for an unknown or unusable one.

        To reveal nothing by its timing, every token costs the same work, whether or not its prefix is that of a key:
        one digest, and a comparison with each of the settings' tokens.
        """
        if not self.guarded:
            return ANONYMOUS
        given = credential or ""
        prefix, secret = split_token(given)
        key, account = self._keys.get(prefix, self._nobodys)
        fits = secrets.compare_digest(digest_of(key.salt, secret), key.digest)
        matches = [secrets.compare_digest(given.encode(), token) for token in self._tokens]
        if any(matches):
            return TOKEN
        now = self._now()
        if not fits or not key.usable(now):
            return None
        self._used[key.id] = now
        return Caller(who=f"key {key.prefix}", account=account, rights=key.rights, prefix=key.prefix)

    def check_still(self, caller: Caller) -> None:
        """Check a caller again while it sends a long body.

        Raises Unauthorized if its key has been revoked or has expired, and StorageError.
        """
        self.refresh()
        if caller.prefix is not None and not self._keys.get(caller.prefix, self._nobodys).key.usable(self._now()):
            raise Unauthorized("the key was revoked, or has expired, while the body came in; nothing of it was kept")

    @contextmanager
    def noting(self) -> Iterator[None]:
        """While the block runs, a thread calls `note` once a minute; it is called once more at the end."""
        try:
            with periodically(self.note, seconds=NOTED_SECONDS, name="last-use"):
                yield
        finally:
            self.note()

    def note(self) -> None:
        """Write to the database when keys were last used. A failure is logged, and retried with the next call."""
        used = {key_id: self._used.pop(key_id) for key_id in list(self._used)}
        if not used:
            return
        try:
            with self._database.write() as session:
                note_use(session, used)
        except StorageError as error:
            for key_id, at in used.items():
                self._used.setdefault(key_id, at)
            _log.warning("when keys were used could not be written down: %s", error.message)


def _nobodys_key() -> ApiKey:
    return ApiKey(
        id=0,
        prefix="",
        salt=secrets.token_bytes(16),
        digest=secrets.token_bytes(32),
        rights=Rights(name="nobody", role=Role.SEARCH),
        created_at=0.0,
        revoked_at=0.0,
        last_used_at=None,
        replaced_by=None,
    )


def _accounts(keys: Sequence[ApiKey]) -> dict[int, str]:
    """Return the account of each key by key id: the id of the first key of its chain of rotations.

    Counts for rate limits thus survive a rotation. `keys`: oldest first.
    """
    found: dict[int, str] = {}
    for key in keys:
        account = found.setdefault(key.id, str(key.id))
        if key.replaced_by is not None:
            found[key.replaced_by] = account
    return found
