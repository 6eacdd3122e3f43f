"""The example answer to a search in docs/api.md: a real one, over the three products of the README."""

from __future__ import annotations

from typing import Any

SEARCH_ANSWER: dict[str, Any] = {
    "hits": [
        {
            "id": 2,
            "document_id": "console",
            "title": "",
            "metadata": {"price": 400},
            "score": 1.0,
            "scores": {
                "dense": {"raw": 0.573408, "rank": 1, "norm": 1.0, "weight": 0.570902},
                "sparse": {"raw": 0.199448, "rank": 1, "norm": 1.0, "weight": 0.429098},
            },
            "passage": {"start": 0, "end": 59, "text": "Plug our new gaming console into your TV for unlimited fun."},
            "explanation": None,
            "highlight": None,
        }
    ],
    "groups": None,
    "facets": None,
    "suggestions": None,
    "next": "AQAAAAAAAAABAAAAAAAAAAMAAAABP_AAAAAAAAAAAAAAAAAAAifEozlRSayyByE6VdA7TjE=",
    "changed": False,
    "timed_out": False,
    "left_out": [],
    "query": "I want to play on my TV.",
    "controls": [],
    "fusion": {"method": "auto", "alpha": 0.5, "k": 60.0, "weights": [1.0, 1.0], "learned": 0.5},
    "rerank": None,
    "choice": {
        "agreement": 0.851767,
        "legs": {
            "dense": {"weight": 0.570902, "prior": 0.5, "decisiveness": 1.0, "confirmation": 0.985939},
            "sparse": {"weight": 0.429098, "prior": 0.5, "decisiveness": 0.308642, "confirmation": 0.717595},
        },
    },
    "legs": ["dense", "sparse"],
    "collection": "products",
    "generation": 1,
    "model": "all-MiniLM-L6-v2",
    "seq": 3,
    "truncated_inputs": [],
    "sparse_silent": False,
    "took_ms": {
        "encode": 6.9,
        "terms": 1.32,
        "filter": 0.0,
        "dense": 0.28,
        "sparse": 0.41,
        "score": 0.3,
        "rank": 0.36,
        "fetch": 0.13,
        "suggest": 1.5,
    },
    "profile": None,
    "request_id": "a-request",
}
