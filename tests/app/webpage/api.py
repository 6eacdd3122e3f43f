"""The API below the page: what it answers is made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.app.webpage.browser import Answer, Request

COLLECTION = {"name": "goods", "documents": 40, "settings": {"alpha": 0.5, "sparse": "bm25"}}
BUSY = {"error": {"code": "overloaded", "message": "the server is busy", "param": None}}
SHOWN = "$$('#hits [data-id]').length"


def hit(rank: int, name: str = "d") -> dict[str, Any]:
    return {
        "id": 1000 + rank,
        "document_id": f"{name}{rank}",
        "title": f"Title {name}{rank}",
        "metadata": {"brand": "Acme", "long": "x" * 400},
        "score": 1 / rank,
        "scores": {"dense": {"raw": 0.5, "rank": rank, "norm": 1 / rank, "weight": 1.0}},
        "passage": {"start": 0, "end": 1200, "text": "word " * 240},
        "explanation": {
            "ledger": {"value": 1 / rank, "kind": "score", "description": "sum of the legs", "details": []},
            "words": [],
            "sentences": [],
            "query_words": [],
            "query_rest": 0.0,
            "significant": True,
            "provenance": {"method": "m", "model": "n", "generation": 1, "seq": 1},
        },
        "highlight": None,
    }


def found(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A page of ten hits; marked words have their factors in `controls`."""
    first = 11 if body.get("cursor") else 1
    text, _, factor = body["query"].partition("^")
    factored = bool(factor) and body.get("boosts", True)
    control = {"start": 0, "length": len(text), "factor": float(factor or 1), "token_overlap": "any"}
    return {
        "hits": [hit(rank, body["query"][:1]) for rank in range(first, first + 10)],
        "groups": None,
        "facets": None,
        "suggestions": None,
        "next": "cursor" if first == 1 else None,
        "changed": False,
        "timed_out": False,
        "left_out": [],
        "query": text,
        "controls": [control] if factored else [],
        "legs": ["dense"],
        "choice": None,
        "seq": 1,
        "truncated_inputs": [],
        "sparse_silent": False,
        "took_ms": {"dense": 1.0},
    } | changes


def usual(request: Request) -> Answer:
    if request.path == "/v1/collections":
        return Answer({"collections": [COLLECTION]})
    return Answer(found(request.body))


def failing(status: int, body: Any = BUSY, **headers: str) -> Callable[[Request], Answer]:
    """As usual, but for searches."""

    def answer(request: Request) -> Answer:
        searched = request.path.endswith("/search")
        return (
            Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})
            if searched
            else usual(request)
        )

    return answer


def explaining(request: Request) -> Answer:
    """As usual, and each question about a hit has an answer of its own."""
    if not request.path.endswith("/explain"):
        return usual(request)
    reasons = hit(1)["explanation"]
    ledger = {
        "value": 0.5,
        "kind": "difference",
        "description": "score of hit 1001 less that of hit 1002",
        "details": [],
    }
    contrast = {"other": 1002, "ledger": ledger, "swap": None, "tried": 9} if "above" in request.body else None
    return Answer({"hits": [{"explanation": reasons | {"advice": [], "contrast": contrast}}]})
