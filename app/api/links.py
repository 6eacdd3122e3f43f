"""OpenAPI links: which operations can follow a response, and how their parameters are taken from it."""

from __future__ import annotations

from typing import Any


def _leads_to(parameters: dict[str, str], *operations: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    """Part of a response's description: links to operations, whose parameters and body are runtime expressions."""
    link: dict[str, Any] = (
        {"parameters": parameters} if body is None else {"parameters": parameters, "requestBody": body}
    )
    return {"links": {operation: {"operationId": operation, **link} for operation in operations}}


_SAME = {"collection": "$request.path.collection"}
COLLECTION_MADE = _leads_to(
    {"collection": "$response.body#/name"},
    *("get_collection", "get_collection_stats", "change_collection", "delete_collection"),
    *("upsert_documents", "bulk_documents", "search", "start_reindex"),
)
DOCUMENTS_ADDED = _leads_to(_SAME, "list_documents", "search", "start_reindex")
DOCUMENTS_LISTED = _leads_to(
    {**_SAME, "document_id": "$response.body#/documents/0/id"},
    "get_document",
    "put_document",
    "change_document",
    "delete_document",
)
JOB_MADE = _leads_to({"job_id": "$response.body#/id"}, "get_job", "get_job_errors", "cancel_job", "retry_job")
HITS_FOUND = _leads_to(_SAME, "explain", body={"query": "$request.body#/query", "id": "$response.body#/hits/0/id"})
KEY_MADE = _leads_to({"key_id": "$response.body#/id"}, "rotate_key", "revoke_key")
ALIAS_SET = _leads_to({"alias": "$request.path.alias"}, "get_alias", "delete_alias")
REINDEX_BEGUN = _leads_to(
    _SAME, "get_reindex", "switch_reindex", "rollback_reindex", "cancel_reindex", "clean_up_reindex"
)
