"""Request bodies of the public embedding APIs: parsed as JSON whatever the media type; unknown fields are ignored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from app.schemas.base import field_path
from core.errors import InvalidInput

MAX_TOKEN_IDS = 1_000_000  # per item of a prompt; models read far fewer
Body = TypeVar("Body", bound="PublicModel")


class PublicModel(BaseModel):
    """Base of the bodies: refuses values of the wrong type, but ignores unknown fields, as clients keep adding some."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False, frozen=True)


async def _raw_body(request: Request) -> bytes:
    return await request.body()


RawBody = Annotated[bytes, Depends(_raw_body)]  # awaited here, so that an endpoint can be a plain function


def parsed(kind: type[Body], body: bytes) -> Body:
    """Parse the body's JSON. Raises InvalidInput, which names the first invalid field but never shows its value."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = field_path(problem["loc"])
        message = f"{place}: {problem['msg']}" if place else f"the body: {problem['msg']}"
        raise InvalidInput(message, param=place or None) from None


@contextmanager
def placed(places: Sequence[str]) -> Iterator[None]:
    """Add a prompt's place in the body to an InvalidInput that a model raises about it in this block.

    A model only knows the prompt's index among several (`error.index`); `places` has the place for each index.
    """
    try:
        yield
    except InvalidInput as error:
        if error.index is None:
            raise
        raise error.at(places[error.index]) from error
