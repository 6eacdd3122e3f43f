"""The Aleph Alpha API, as its public clients speak it: at the root path, with its own errors (app/error_shapes.py).

Its authors describe the fields; docs/embedding-apis.md says what differs here.
"""

from __future__ import annotations

from fastapi import APIRouter

from app.api.aleph_alpha import about, complete, embed, explain, layers, tokens

router = APIRouter(include_in_schema=False)
for part in (about, complete, embed, explain, layers, tokens):
    router.include_router(part.router)

PATHS = (  # that take bodies
    "/batch_semantic_embed",
    "/complete",
    "/detokenize",
    "/embed",
    "/evaluate",
    "/explain",
    "/qa",
    "/semantic_embed",
    "/summarize",
    "/tokenize",
)
