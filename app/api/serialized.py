"""Large answers, written as JSON by the thread that found them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, get_type_hints

from fastapi import Response
from pydantic import BaseModel, TypeAdapter

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer", bound=BaseModel)


def serialized(endpoint: Callable[_Given, _Answer]) -> Callable[_Given, Response]:
    """The endpoint, whose model goes out as the bytes that FastAPI would make of it. Stands below the route.

    FastAPI would have a second thread check the model, and then write the JSON in the event loop, where it holds up
    every other request. The endpoint keeps its annotations, by which the API is described. For endpoints that answer
    200 and set no header: a status or a header that they put into a parameter `response` would be lost.

    A number that is not finite would go out as null, with FastAPI as well: JSON has none. The models of answers refuse
    it when they are made (app.schemas.base), which is a 500 and a line in the log: a score of that kind is a defect.
    """
    answer = TypeAdapter(get_type_hints(endpoint)["return"])

    @wraps(endpoint)
    def answering(*args: _Given.args, **given: _Given.kwargs) -> Response:
        found = answer.validate_python(endpoint(*args, **given))
        return Response(answer.dump_json(found, by_alias=True), media_type="application/json")

    return answering
