"""The results of administrative calls, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["search", "ingest", "admin"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """An API key, without its secret."""

    id: int
    prefix: str  # the first part of the key, after sal_
    name: str
    role: Role
    collections: tuple[str, ...]  # names or patterns of the visible ones; empty: all
    limits: Mapping[str, Any]
    usable: bool  # neither revoked nor expired
    created_at: str
    tenant: str | None = None  # None: a key of the operator
    filter: Any = None  # the documents that it may see; None: all
    expires_at: str | None = None
    revoked_at: str | None = None
    last_used_at: str | None = None
    replaced_by: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKey(Key):
    """A key with its secret, which is never shown again."""

    key: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id}, prefix={self.prefix!r}, name={self.name!r})"  # keeps the secret out of logs


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """An entry of the audit log."""

    id: int
    at: str
    who: str
    action: str
    target: str
    outcome: str  # "done", or the code of the error


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditPage:
    actions: tuple[Action, ...]
    next: int | None = None


ReindexState = Literal["building", "validating", "ready", "switched", "done", "rolled back", "cancelled", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reindex:
    """A reindex: a collection that is rebuilt as a second generation while the first one keeps serving."""

    id: int
    collection: str
    state: ReindexState
    documents: int  # in the collection when the reindex began
    done: int  # of these, copied so far
    waiting: int  # written in the meantime, and still to be copied
    passages: int  # passages that were embedded
    tokens: int
    share: float  # fraction of the time in which it may work
    auto_switch: bool
    grace_seconds: float  # how long the old generation is kept after the switch
    created_at: str
    reason: str | None = None  # why it waits, or failed
    other_generation: str | None = None  # name under which the generation that does not serve can be searched
    seconds_left: float | None = None
    report: Mapping[str, Any] | None = None  # results of comparing both generations
    switched_at: str | None = None
    ended_at: str | None = None

    @property
    def settled(self) -> bool:
        """Whether waiting is pointless: the new generation serves, waits for a manual switch, or never will serve."""
        return self.state not in ("building", "validating", *(("ready",) if self.auto_switch else ()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    alias: str
    collection: str
