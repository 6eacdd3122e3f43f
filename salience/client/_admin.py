"""Calls that require the admin role: keys, aliases, reindexes, and the audit log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from salience.client._attempts import Retries, Steps
from salience.client._calls import Call, given, nothing, path_of, reading
from salience.client._search import Filter
from salience.client._watching import watched
from salience.client.admin_results import Alias, AuditPage, Key, NewKey, Reindex, Role
from salience.client.errors import ReindexUnfinished


def create_key(
    name: str,
    role: Role,
    *,
    tenant: str | None = None,
    collections: Sequence[str] = (),
    filter: Filter | None = None,
    limits: Mapping[str, int] | None = None,
    expires_at: datetime | None = None,
) -> Call[NewKey]:
    """Create a key; its `key` is shown here, and never again. `expires_at` must have a time zone."""
    body = {
        "name": name,
        "role": role,
        "tenant": tenant,
        "collections": list(collections),
        "filter": filter,
        "limits": dict(limits or {}),
        "expires_at": None if expires_at is None else expires_at.isoformat(),
    }
    return Call(method="POST", path="/v1/admin/keys", body=body, read=reading(NewKey), repeatable=False)


def list_keys() -> Call[tuple[Key, ...]]:
    """Every key that was ever created, without secrets."""
    return Call(method="GET", path="/v1/admin/keys", read=reading(tuple[Key, ...], "keys"))


def rotate_key(id: int, *, overlap_seconds: float | None = None) -> Call[NewKey]:
    """Replace a key by a new one with the same rights; the old one remains valid for `overlap_seconds`."""
    return Call(
        method="POST",
        path=path_of("v1", "admin", "keys", id, "rotate"),
        body={} if overlap_seconds is None else {"overlap_seconds": float(overlap_seconds)},
        read=reading(NewKey),
        repeatable=False,
    )


def revoke_key(id: int) -> Call[Key]:
    """Revoke a key; takes effect within a second in every process."""
    return Call(method="DELETE", path=path_of("v1", "admin", "keys", id), read=reading(Key))


def list_audit(*, limit: int | None = None, before: int | None = None) -> Call[AuditPage]:
    """One page of administrators' actions, the newest first. `iter_audit` iterates over all."""
    return Call(
        method="GET", path="/v1/admin/audit", params={"limit": limit, "before": before}, read=reading(AuditPage)
    )


def set_alias(alias: str, collection: str) -> Call[Alias]:
    """Point an alias at a collection: searches, reads and writes under this name go to it from now on."""
    return Call(
        method="PUT",
        path=path_of("v1", "admin", "aliases", alias),
        body={"collection": collection},
        read=reading(Alias),
    )


def get_alias(alias: str) -> Call[Alias]:
    """The collection that an alias stands for."""
    return Call(method="GET", path=path_of("v1", "admin", "aliases", alias), read=reading(Alias))


def list_aliases() -> Call[tuple[Alias, ...]]:
    """Every alias, by name."""
    return Call(method="GET", path="/v1/admin/aliases", read=reading(tuple[Alias, ...], "aliases"))


def delete_alias(alias: str) -> Call[None]:
    """Delete an alias. The collection stays."""
    return Call(method="DELETE", path=path_of("v1", "admin", "aliases", alias), read=nothing, repeatable=False)


def start_reindex(
    collection: str,
    *,
    model: str | None = None,
    sparse_model: str | None = None,
    settings: Mapping[str, Any] | None = None,
    share: float | None = None,
    auto_switch: bool = True,
    grace_seconds: float | None = None,
    min_recall: float | None = None,
    judgements: Mapping[str, Any] | None = None,
    min_gain: float | None = None,
) -> Call[Reindex]:
    """Rebuild a collection with another model, splitting, analysis or index, while it keeps serving.

    `settings`: only those that change. `wait_for_reindex` waits for the end.
    """
    chosen = given(
        model=model,
        sparse_model=sparse_model,
        share=share,
        grace_seconds=grace_seconds,
        min_recall=min_recall,
        judgements=judgements,
        min_gain=min_gain,
    )
    return Call(
        method="POST",
        path=_reindex(collection),
        body={**chosen, "settings": dict(settings or {}), "auto_switch": auto_switch},
        read=reading(Reindex),
        repeatable=False,
    )


def get_reindex(collection: str) -> Call[Reindex]:
    """The newest reindex of a collection: its state, its progress, and the results of the comparison."""
    return Call(method="GET", path=_reindex(collection), read=reading(Reindex))


def list_reindexes() -> Call[tuple[Reindex, ...]]:
    """The newest reindex of each collection that had one, the newest first."""
    return Call(method="GET", path="/v1/admin/reindexes", read=reading(tuple[Reindex, ...], "reindexes"))


def switch_reindex(collection: str) -> Call[Reindex]:
    """Let the new generation serve; it must be ready."""
    return _changed(collection, "switch")


def rollback_reindex(collection: str) -> Call[Reindex]:
    """Let the old generation serve again, including everything written since."""
    return _changed(collection, "rollback")


def cancel_reindex(collection: str) -> Call[Reindex]:
    """Cancel a reindex. The collection stays unchanged."""
    return _changed(collection, "cancel")


def clean_up_reindex(collection: str) -> Call[Reindex]:
    """Delete the old generation early; a rollback is then no longer possible."""
    return _changed(collection, "cleanup")


def until_reindexed(
    collection: str, *, seconds: float | None, progress: Callable[[Reindex], object] | None, retries: Retries
) -> Steps[Reindex]:
    """Poll a reindex until the new generation serves, or waits for its switch.

    Raises ReindexUnfinished for any other end, or if `seconds` have passed.
    """
    found = yield from watched(
        get_reindex(collection), lambda seen: seen.settled, seconds=seconds, progress=progress, retries=retries
    )
    if not found.settled or found.state not in ("ready", "switched", "done"):
        reason = f": {found.reason}" if found.reason else "" if found.settled else f" after {seconds:g} seconds"
        message = f"the reindex of {collection} has not come to its end; it is {found.state}{reason}"
        raise ReindexUnfinished(message, id=found.id, state=found.state)
    return found


def _changed(collection: str, what: str) -> Call[Reindex]:
    return Call(method="POST", path=_reindex(collection, what), read=reading(Reindex), repeatable=False)


def _reindex(collection: str, *more: str) -> str:
    return path_of("v1", "admin", "collections", collection, "reindex", *more)
