"""The permissions that each route requires, in one table. An application with a route missing from it does not start.

Routes are identified by their operation id, or by their module where they have none: those of the embedding APIs, of
the web pages and of the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.access import Role


class Scope(StrEnum):
    """The part of the data that a route accesses."""

    PUBLIC = "public"  # none; no authentication
    COLLECTION = "collection"  # the collection named in its path
    ANY = "any"  # several collections, restricted to those that the caller sees
    OPERATOR = "operator"  # all of them: only for keys without tenant, patterns and row filter


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    role: Role | None  # the least role required; None: a public route
    scope: Scope
    rows: bool = True  # whether it is safe for keys with a row filter, which see some of the documents only
    searches: bool = False  # whether it counts as a search


_PUBLIC = Rule(role=None, scope=Scope.PUBLIC)
_EMBED = Rule(role=Role.SEARCH, scope=Scope.ANY)
_OPERATOR = Rule(role=Role.ADMIN, scope=Scope.OPERATOR)
_READ = Rule(role=Role.SEARCH, scope=Scope.COLLECTION)
_SEARCH = Rule(role=Role.SEARCH, scope=Scope.COLLECTION, searches=True)
# Writing a document replaces any document with its id, even one that the row filter hides, and reveals that it existed.
_WRITE = Rule(role=Role.INGEST, scope=Scope.COLLECTION, rows=False)
_DELETE = Rule(role=Role.INGEST, scope=Scope.COLLECTION)
_JOBS = Rule(role=Role.INGEST, scope=Scope.ANY, rows=False)
_ADMIN = Rule(role=Role.ADMIN, scope=Scope.COLLECTION, rows=False)

RULES: dict[str, Rule] = {
    "livez": _PUBLIC,
    "readyz": _PUBLIC,
    "web.*": _PUBLIC,
    "create_collection": Rule(role=Role.ADMIN, scope=Scope.ANY, rows=False),
    "list_collections": Rule(role=Role.SEARCH, scope=Scope.ANY),
    "get_collection": _READ,
    "get_collection_stats": Rule(role=Role.SEARCH, scope=Scope.COLLECTION, rows=False),
    "change_collection": _ADMIN,
    "delete_collection": _ADMIN,
    "upsert_documents": _WRITE,
    "put_document": _WRITE,
    "change_document": _WRITE,
    "bulk_documents": _WRITE,
    "list_documents": _READ,
    "get_document": _READ,
    "count_documents": _READ,
    "delete_document": _DELETE,
    "delete_documents": _DELETE,
    "list_jobs": _JOBS,
    "get_job": _JOBS,
    "get_job_errors": _JOBS,
    "cancel_job": _JOBS,
    "retry_job": _JOBS,
    "search": _SEARCH,
    "search_batch": _SEARCH,
    "explain": _SEARCH,
    "replay": Rule(role=Role.SEARCH, scope=Scope.ANY, searches=True),
    "metrics.*": Rule(role=Role.SEARCH, scope=Scope.OPERATOR),  # unless the settings make them public
    "create_key": _OPERATOR,
    "list_keys": _OPERATOR,
    "revoke_key": _OPERATOR,
    "rotate_key": _OPERATOR,
    "list_audit": _OPERATOR,
    "list_reindexes": Rule(role=Role.ADMIN, scope=Scope.ANY, rows=False),
    "start_reindex": _ADMIN,
    "get_reindex": _ADMIN,
    "switch_reindex": _ADMIN,
    "rollback_reindex": _ADMIN,
    "cancel_reindex": _ADMIN,
    "clean_up_reindex": _ADMIN,
    "list_aliases": _OPERATOR,
    "get_alias": _OPERATOR,
    "set_alias": _OPERATOR,
    "delete_alias": _OPERATOR,
    "openai.*": _EMBED,
    "aleph_alpha.*": _EMBED,
    "vikingdb.*": _EMBED,
}


def rule_key(operation_id: str | None, endpoint: Any) -> str:
    """Return the key of a route in RULES."""
    if operation_id is not None:
        return operation_id
    family: str = endpoint.__module__.removeprefix("app.api.").partition(".")[0]
    return f"{family}.*"
