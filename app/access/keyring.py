"""The keys, as a process knows them: read again every half second at most, by whoever comes in then.

So a key that is revoked stops within a second in every process, and most requests cost no look at the database. Whoever
is not known may have a key that another process has just made: for them they are read a hundred times a second at most.
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
NEWEST_SECONDS = 0.01  # for which whoever is not known has no key that another process has made meanwhile
NOTED_SECONDS = 60.0  # between two notes of when keys were used
_log = logging.getLogger(__name__)


class _Known(NamedTuple):
    key: ApiKey
    account: str  # whose limits count


class KeyRing:
    """Thread-safe. `refresh` reads the database; all else does not."""

    def __init__(
        self,
        database: Database,
        tokens: Sequence[str],
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tokens`: of the settings, whose bearers may do everything. `now`: seconds since 1970."""
        self._database = database
        self._tokens = [token.encode() for token in tokens]
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._revision = 0
        self._keys: Mapping[str, _Known] = {}  # by prefix; another one takes its place, it is never changed
        self._nobodys = _Known(_nobodys_key(), "")
        self._used: dict[int, float] = {}

    @property
    def fresh(self) -> bool:
        """Whether the keys are those of half a second ago, or younger."""
        return self._read_at is not None and self._clock() - self._read_at < REFRESH_SECONDS

    @property
    def newest(self) -> bool:
        """Whether the keys are new enough to say of somebody that there is no such key."""
        return self._read_at is not None and self._clock() - self._read_at < NEWEST_SECONDS

    @property
    def known(self) -> bool:
        """Whether the keys were ever read."""
        return self._read_at is not None

    @property
    def guarded(self) -> bool:
        """Whether callers must say who they are: there are tokens, or there ever was a key."""
        return bool(self._tokens or self._revision)

    @property
    def has_tokens(self) -> bool:
        """Whether there are tokens of the settings, so that keys are not the only way to administrate."""
        return bool(self._tokens)

    def refresh(self, *, at_once: bool = False) -> None:
        """Read what has changed. `at_once`: also where the keys are fresh. Raises StorageError."""
        self._read_unless(lambda: self.fresh and not at_once)

    def look_again(self) -> None:
        """Before somebody is refused. Raises StorageError."""
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
        """Who sends this bearer token; None: nobody who is known.

        Every token costs the same work: a digest and a comparison with each of the settings' tokens, whether its
        prefix is that of a key, one of no key, or none at all.
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
        """For what comes in for long. Raises Unauthorized where the caller's key is good no more, and StorageError."""
        self.refresh()
        if caller.prefix is not None and not self._keys.get(caller.prefix, self._nobodys).key.usable(self._now()):
            raise Unauthorized("the key was revoked, or has expired, while the body came in; nothing of it was kept")

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Meanwhile a thread writes down once a minute when keys were used, and once more in the end."""
        try:
            with periodically(self.note, seconds=NOTED_SECONDS, name="last-use"):
                yield
        finally:
            self.note()

    def note(self) -> None:
        """Write down when keys were used last. A failure is logged; what it is about comes with the next note."""
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
    """By a key's id that of the first in the line of those that took each other's place: what was counted stays.

    `keys`: the oldest first.
    """
    found: dict[int, str] = {}
    for key in keys:
        account = found.setdefault(key.id, str(key.id))
        if key.replaced_by is not None:
            found[key.replaced_by] = account
    return found
