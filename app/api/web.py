"""Serves the search page at /, the API's documentation at /docs, their files in app/web, and /openapi.json.

Files are read once, at import. Their ETag is a hash of the content: browsers revalidate, and get nothing twice. The
content security policy lets the pages load only from this server, and run no code but their own files.
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
HEADERS = {
    "Cache-Control": "no-cache",  # cached, but revalidated before each use
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the page's address holds the query
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


@router.api_route("/", methods=["GET", "HEAD"])
def page(request: Request) -> Response:
    """The search page."""
    return _answer(request, "index.html")


@router.api_route("/docs", methods=["GET", "HEAD"])
def documentation(request: Request) -> Response:
    """The API's documentation."""
    return _answer(request, "docs.html")


@router.api_route("/openapi.json", methods=["GET", "HEAD"])
def description(request: Request) -> JSONResponse:
    """The API's OpenAPI description. Built on the first request, in a worker thread, as that takes a second."""
    with _describing:
        found = request.app.openapi()
    return JSONResponse(found)


@router.api_route("/web/{name}", methods=["GET", "HEAD"])
def file(request: Request, name: str) -> Response:
    """A script, style sheet or picture of these pages."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    found = _FILES.get(name)
    if found is None:
        raise HTTPException(404, f"there is no file {name!r:.140} in the web page")
    headers = {**HEADERS, "ETag": found.etag}
    known = re.findall(r'"[^"]*"|\*', request.headers.get("If-None-Match", ""))
    if found.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)


def _read() -> dict[str, _File]:
    files = {}
    for entry in resources.files("app.web").iterdir():
        media_type = MEDIA_TYPES.get(entry.name.rpartition(".")[2])
        if media_type is not None:
            content = entry.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            files[entry.name] = _File(content=content, media_type=media_type, etag=etag)
    return files


_FILES = _read()
_describing = threading.Lock()
