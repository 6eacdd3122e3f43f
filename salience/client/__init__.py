"""The Python client of Salience's HTTP API: synchronous and asynchronous, typed, with retries where they are safe.

    from salience.client import Client

    with Client("http://localhost:8080", key="...") as client:
        for hit in client.search("products", "games for my TV", k=3).hits:
            print(hit.score, hit.document_id)

See docs/client.md. The client imports nothing from the server.
"""

from __future__ import annotations

from salience.client import errors
from salience.client._attempts import Retries
from salience.client._awaiting import AsyncClient
from salience.client._blocking import Client
from salience.client._search import ExplainOptions, QueryOptions, SearchOptions, SearchQuery
from salience.client.errors import RequestFailed, SalienceError
from salience.client.results import Collection, Document, DocumentControl, Embeddings, Job, Reranking, WriteReport
from salience.client.search_results import Control, Explanation, Hit, SearchResult

__all__ = [
    "AsyncClient",
    "Client",
    "Collection",
    "Control",
    "Document",
    "DocumentControl",
    "Embeddings",
    "ExplainOptions",
    "Explanation",
    "Hit",
    "Job",
    "QueryOptions",
    "RequestFailed",
    "Reranking",
    "Retries",
    "SalienceError",
    "SearchOptions",
    "SearchQuery",
    "SearchResult",
    "WriteReport",
    "errors",
]
