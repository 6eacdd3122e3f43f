"""Rejects unknown query parameters, as unknown keys of a body are, and reads `nice`, which every route takes."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.types import Scope

from app.errors import Malformed
from app.schemas.base import unknown

NICE = "nice"  # taken by every route
_boolean = TypeAdapter(bool)


def comes_last(scope: Scope) -> bool:
    """Whether the request asks to be served after all others (`nice`). Raises Malformed if that is not a boolean."""
    query: bytes = scope["query_string"]
    if not query:
        return False
    said = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(NICE, ["false"])[-1]
    try:
        return _boolean.validate_python(said)
    except ValidationError:
        raise Malformed(f"{NICE}: must be true or false", param=NICE) from None


def check_parameters(request: Request, route: APIRoute) -> None:
    """Raise Malformed for a query parameter that `route` does not take.

    Routes of the compatible APIs, which have no operation id, are not checked: their clients may send whatever the
    original service takes.
    """
    if not request.scope["query_string"] or route.operation_id is None:
        return
    fields = get_flat_params(route.dependant)
    known = [*(field.alias for field in fields if isinstance(field.field_info, Query)), NICE]
    for name in request.query_params:
        if name not in known:
            raise Malformed(unknown("query parameter", name, known), param=name)
