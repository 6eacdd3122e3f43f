"""Base classes of JSON bodies: requests are validated strictly, responses are printable. Also the JSON of errors."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

_NEAR = 0.65  # of difflib, 0 to 1: "sort" is 0.6 like "cursor"


class RequestModel(BaseModel):
    """Refuses unknown keys, wrong types, NaN and infinity."""

    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({})  # what other engines call a key, to the name here

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        """Refuse unknown keys. `extra="forbid"` would, too, but does not say which keys are known."""
        known = cls.model_fields
        for key in value if isinstance(value, dict) else ():
            if key not in known:
                message = unknown("key", str(key), known, cls.elsewhere)
                raise PydanticCustomError("unknown_key", "{message}", {"message": message})
        return value


class ResponseModel(BaseModel):
    """Raises ValidationError for NaN and infinity, which would otherwise be sent as null."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


def without_defaults(schema: dict[str, Any]) -> None:
    """Remove the defaults from a JSON schema (as `json_schema_extra`).

    For requests where fields that are left out stay unchanged: a default in the schema would be wrong.
    """
    for field in schema["properties"].values():
        field.pop("default", None)


class ErrorDetail(ResponseModel):
    code: str = Field(description="stable name of the kind of error", examples=["collection_not_found"])
    message: str = Field(description="what was wrong, and what is allowed")
    param: str | None = Field(description="the input that is at fault")
    request_id: str | None = Field(description="the answer's X-Request-ID, under which the server logs the request")


class ErrorResponse(ResponseModel):
    error: ErrorDetail = Field(description="what was wrong")


def field_path(location: Sequence[int | str]) -> str:
    """ "hits[0].factor" for ("hits", 0, "factor"). A key that pydantic marks with "[key]" is named as a field."""
    if location and location[-1] == "[key]":
        location = location[:-1]
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


def unknown(kind: str, name: str, known: Collection[str], elsewhere: Mapping[str, str] = MappingProxyType({})) -> str:
    """The message for a name that is none of the `known` ones; `kind`: what it names, such as "key".

    `elsewhere`: names of other engines, to the name here.
    """
    near = [elsewhere[name]] if name in elsewhere else difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {printable(name)!r:.80}; {hint}allowed are {', '.join(known)}"


def printable(text: str) -> str:
    """`text` with lone surrogates escaped, as UTF-8 cannot encode them."""
    return text.encode("utf-8", "backslashreplace").decode()


def time_text(seconds: float, precision: str = "seconds") -> str:
    """Seconds since 1970 as ISO 8601 in UTC. `precision`: the `timespec` of `datetime.isoformat`.

    Raises ValueError or OverflowError for times outside the years 1 to 9999.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision)
