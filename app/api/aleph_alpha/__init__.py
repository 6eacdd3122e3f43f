"""The Aleph Alpha API, for its public clients: at the root path, with its own format of errors (app/error_shapes.py).

The fields are documented by its authors; docs/embedding-apis.md lists what differs here.
"""

from __future__ import annotations

from fastapi import APIRouter

from app.api.aleph_alpha import about, complete, embed, explain, layers, tokens

router = APIRouter(include_in_schema=False)
for part in (about, complete, embed, explain, layers, tokens):
    router.include_router(part.router)

PATHS = (  # the ones that take a body
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
