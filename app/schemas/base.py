"""What every JSON body is: strictly checked coming in, printable going out. And the JSON of an error."""

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
    """Unknown keys, wrong types, NaN and infinity are refused."""

    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({})  # what other engines call a key, to the name here

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        """`extra="forbid"` would refuse an unknown key, too, but not say which ones are known."""
        known = cls.model_fields
        for key in value if isinstance(value, dict) else ():
            if key not in known:
                message = unknown("key", str(key), known, cls.elsewhere)
                raise PydanticCustomError("unknown_key", "{message}", {"message": message})
        return value


class ResponseModel(BaseModel):
    """Raises ValidationError for NaN and infinity: a score that is none is not to go out as null."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


def without_defaults(schema: dict[str, Any]) -> None:
    """For `json_schema_extra` of requests of which whatever is left out stays as it is: a default would be untrue."""
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
    """ "hits[0].factor" for ("hits", 0, "factor"). What pydantic marks as a key of its object is named as a field."""
    if location and location[-1] == "[key]":
        location = location[:-1]
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


def unknown(kind: str, name: str, known: Collection[str], elsewhere: Mapping[str, str] = MappingProxyType({})) -> str:
    """The message about a name that is none of the `known` ones; `kind`: what it would be the name of.

    `elsewhere`: names that are known under another one here.
    """
    near = [elsewhere[name]] if name in elsewhere else difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {printable(name)!r:.80}; {hint}allowed are {', '.join(known)}"


def printable(text: str) -> str:
    """`text` with lone surrogates spelt out: UTF-8 cannot carry them."""
    return text.encode("utf-8", "backslashreplace").decode()


def time_text(seconds: float, precision: str = "seconds") -> str:
    """ISO 8601, in UTC, of seconds since 1970. `precision`: as `datetime.isoformat` has it.

    Raises ValueError or OverflowError for what is in no year from 1 to 9999.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision)
