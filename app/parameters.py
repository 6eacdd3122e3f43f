"""The names in a query string: those that the route takes, and no others, as with the keys of a body."""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from app.errors import Malformed
from app.schemas.base import unknown

NICE = "nice"  # taken by every route: app/operation/admission.py reads it


def check_parameters(request: Request, route: APIRoute) -> None:
    """Raises Malformed where the query string names what `route` does not take.

    Those of the public APIs, which have no operation id, are left alone: their clients send what the original takes.
    """
    if not request.scope["query_string"] or route.operation_id is None:
        return
    fields = get_flat_params(route.dependant)
    known = [*(field.alias for field in fields if isinstance(field.field_info, Query)), NICE]
    for name in request.query_params:
        if name not in known:
            raise Malformed(unknown("query parameter", name, known), param=name)
