"""Bodies of the public embedding APIs: read as JSON whatever their media type, unknown fields passed over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from app.schemas.base import field_path
from core.errors import InvalidInput

MAX_TOKEN_IDS = 1_000_000  # of one prompt's item; models read far fewer
Body = TypeVar("Body", bound="PublicModel")


class PublicModel(BaseModel):
    """Values of the wrong type are refused. Those of unknown fields are not: clients grow them."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False, frozen=True)


async def _raw_body(request: Request) -> bytes:
    return await request.body()


RawBody = Annotated[bytes, Depends(_raw_body)]  # awaited here, so that the endpoint itself can be a plain function


def parsed(kind: type[Body], body: bytes) -> Body:
    """The body's JSON. Raises InvalidInput that names the first field at fault, and never shows its value."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = field_path(problem["loc"])
        message = f"{place}: {problem['msg']}" if place else f"the body: {problem['msg']}"
        raise InvalidInput(message, param=place or None) from None


@contextmanager
def placed(places: Sequence[str]) -> Iterator[None]:
    """What a model finds wrong with one of several prompts is told with its place in the body, which no model knows."""
    try:
        yield
    except InvalidInput as error:
        if error.index is None:
            raise
        raise error.at(places[error.index]) from error
