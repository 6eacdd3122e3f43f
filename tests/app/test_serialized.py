"""Answers that are written beside the event loop: the bytes, headers and description that FastAPI would make."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field, ValidationError, computed_field, field_serializer
from starlette.testclient import TestClient

from app.api.serialized import serialized
from app.schemas.base import ResponseModel

LARGE = {
    "search", "search_batch", "explain", "replay", "list_documents", "get_document", "list_jobs", "list_collections",
    "/semantic_embed", "/batch_semantic_embed", "/explain", "/embed",
}  # fmt: skip


class Part(BaseModel):
    number: float
    more: Mapping[str, Any]


class Answer(BaseModel):
    parts: list[Part]
    text: str = Field(alias="Text", serialization_alias="said")
    none: int | None = None

    @computed_field
    def length(self) -> int:
        return len(self.parts)


class Scored(ResponseModel):
    score: float
    scores: dict[str, list[float]]


class Threads(BaseModel):
    found: int
    written: int = 0

    @field_serializer("written")
    def _written(self, _: int) -> int:
        return threading.get_ident()


def answered(number: float) -> Answer:
    """An answer of all that JSON has, and has not."""
    more = {"né": [1, 2.50, True, None, {"a/b": '"\\\n\u2028😀'}], "nan": float("nan"), "": b"bytes"}
    return Answer(parts=[Part(number=number, more=more), Part(number=float("inf"), more={})], Text="τέλος\x00")


def found_by() -> Threads:
    return Threads(found=threading.get_ident())


def not_what_it_says() -> Answer:
    return Part(number=1, more={})  # type: ignore[return-value]


def served(change: Callable[[Callable[..., Any]], Callable[..., Any]]) -> TestClient:
    app = FastAPI()
    for endpoint in (answered, found_by, not_what_it_says):
        app.get(f"/{endpoint.__name__}")(change(endpoint))
    return TestClient(app)


def test_bytes_headers_and_description_are_those_of_fastapi() -> None:
    ours, theirs = served(serialized), served(lambda endpoint: endpoint)
    for query in ("?number=0.1", "?number=1e300", "?number=x", ""):
        mine, other = ours.get(f"/answered{query}"), theirs.get(f"/answered{query}")
        assert (mine.status_code, mine.content) == (other.status_code, other.content)
        assert mine.headers.raw == other.headers.raw
    assert ours.get("/openapi.json").content == theirs.get("/openapi.json").content


def test_the_thread_that_finds_an_answer_writes_it() -> None:
    mine = served(serialized).get("/found_by").json()
    assert mine["found"] == mine["written"]
    other = served(lambda endpoint: endpoint).get("/found_by").json()
    assert other["found"] != other["written"], "FastAPI does so itself by now"


def test_an_answer_that_is_not_of_its_model_goes_nowhere() -> None:
    with pytest.raises(ValidationError, match="valid dictionary or instance of Answer"):
        served(serialized).get("/not_what_it_says")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_an_error(number: float) -> None:
    def scored() -> Scored:
        return Scored(score=number, scores={})

    def all_scored() -> Scored:
        return Scored(score=1.0, scores={"dense": [number]})

    app = FastAPI()
    for endpoint in (scored, all_scored):
        app.get(f"/{endpoint.__name__}")(serialized(endpoint))
    for path in ("/scored", "/all_scored"):
        assert TestClient(app, raise_server_exceptions=False).get(path).status_code == 500
        with pytest.raises(ValidationError, match="should be a finite number"):
            TestClient(app).get(path)


def test_large_answers_are_serialized_and_none_that_sets_a_status_or_headers(
    make_client: Callable[..., TestClient],
) -> None:
    app: Any = make_client().app
    routes = [one for one in iter_route_contexts(app.routes) if hasattr(one.endpoint, "__wrapped__")]
    assert {one.operation_id or one.path for one in routes} == LARGE
    assert {one.status_code for one in routes} <= {None, 200}
    models = [get_type_hints(one.endpoint)["return"] for one in routes]
    assert {model.model_config.get("allow_inf_nan") for model in models} == {False}
    assert not [one.path for one in routes if one.dependant.response_param_name]
