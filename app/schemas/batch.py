"""The JSON of a batch of searches: the result or the error of each."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError

from app.error_shapes import Failure, native
from app.errors import Malformed, status_of
from app.schemas.base import ErrorDetail, RequestModel, ResponseModel
from app.schemas.search_request import SearchRequest
from app.schemas.search_response import SearchResponse
from core.errors import SalienceError
from retriever.batch import each

MAX_QUERIES = 64


class BatchRequest(RequestModel):
    queries: list[Any] = Field(
        description="each is the body of a search; one that is not valid does not affect the others",
        min_length=1,
        max_length=MAX_QUERIES,
    )

    def bodies(self) -> list[SearchRequest | SalienceError]:
        """The searches in order; for an invalid one, its error."""
        return each(_body, self.queries)


class AnswerBody(ResponseModel):
    """A result, or an error."""

    status: int = Field(description="that the search alone would have been answered with")
    result: SearchResponse | None = Field(description="null: there is an error")
    error: ErrorDetail | None = Field(description="null: there is a result")

    @classmethod
    def failed(cls, error: SalienceError, request_id: str | None) -> Self:
        status, body = native(Failure.of(status_of(error), error.code, error.message, error.param, request_id))
        return cls(status=status, result=None, error=body["error"])


class BatchResponse(ResponseModel):
    answers: list[AnswerBody] = Field(description="in the order of the queries")
    request_id: str | None = Field(description="the answer's X-Request-ID")


def _body(query: Any) -> SearchRequest:
    if not isinstance(query, dict):
        raise Malformed("a query must be an object, as the body of a search is")
    try:
        return SearchRequest.model_validate(query)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise Malformed.of([(problem["loc"], problem["msg"]) for problem in problems]) from None
