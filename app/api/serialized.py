"""Serialization of large responses in the worker thread of the endpoint, instead of in the event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, get_type_hints

from fastapi import Response
from pydantic import BaseModel, TypeAdapter

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer", bound=BaseModel)


def serialized(endpoint: Callable[_Given, _Answer]) -> Callable[_Given, Response]:
    """Make the endpoint return its model as the JSON bytes that FastAPI would send. Goes below the route decorator.

    FastAPI would validate the model in a second thread, and then write the JSON in the event loop, which holds up every
    other request. The endpoint keeps its annotations, from which the API's description is made. Only for endpoints that
    answer 200 and set no header: a status or header set on a parameter `response` would be lost.

    NaN and infinity would be sent as null, as they are by FastAPI, since JSON cannot hold them. Such a score is a
    defect: response models refuse it when they are made (app.schemas.base), which is a 500 and a line in the log.
    """
    answer = TypeAdapter(get_type_hints(endpoint)["return"])

    @wraps(endpoint)
    def answering(*args: _Given.args, **given: _Given.kwargs) -> Response:
        found = answer.validate_python(endpoint(*args, **given))
        return Response(answer.dump_json(found, by_alias=True), media_type="application/json")

    return answering
