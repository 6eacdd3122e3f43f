"""What administrators are answered with, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["search", "ingest", "admin"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """An API key, without its secret."""

    id: int
    prefix: str  # what the key begins with, behind sal_
    name: str
    role: Role
    collections: tuple[str, ...]  # names or patterns of those that it sees; empty: all
    limits: Mapping[str, Any]
    usable: bool  # neither revoked nor expired
    created_at: str
    tenant: str | None = None  # None: the operator's own
    filter: Any = None  # conditions on the documents that it sees
    expires_at: str | None = None
    revoked_at: str | None = None
    last_used_at: str | None = None
    replaced_by: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKey(Key):
    """A key with its secret, which is never shown again."""

    key: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id}, prefix={self.prefix!r}, name={self.name!r})"  # a secret has no place in a log


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """What somebody did."""

    id: int
    at: str
    who: str
    action: str
    target: str
    outcome: str  # done, or the code of the error


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditPage:
    actions: tuple[Action, ...]
    next: int | None = None


ReindexState = Literal["building", "validating", "ready", "switched", "done", "rolled back", "cancelled", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reindex:
    """A collection that is made anew beside itself."""

    id: int
    collection: str
    state: ReindexState
    documents: int  # in the collection when it began
    done: int  # of these, brought over
    waiting: int  # that were written meanwhile, and are still to be brought over
    passages: int  # that were embedded
    tokens: int
    share: float  # of the time that it may work
    auto_switch: bool
    grace_seconds: float  # for which the old generation is kept
    created_at: str
    reason: str | None = None  # why it waits, or failed
    other_generation: str | None = None  # name under which the one that does not answer can be searched
    seconds_left: float | None = None
    report: Mapping[str, Any] | None = None  # what comparing both generations found
    switched_at: str | None = None
    ended_at: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more happens by itself before it answers: it does, waits to be switched, or never will."""
        return self.state not in ("building", "validating", *(("ready",) if self.auto_switch else ()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    alias: str
    collection: str
