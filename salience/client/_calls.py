"""Calls: API requests as values, with what is sent and how the answer is read. Performs no I/O.

Both clients send the same calls; each request of the API is described once, in the other modules of this package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from salience.client._bulk import BulkBody
from salience.client._reading import read_as
from salience.client.errors import RequestFailed, UnexpectedAnswer, failure

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Params = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    content: bytes

    def json(self) -> Any:
        """The content as JSON. Raises UnexpectedAnswer if it is not."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            kind = self.headers.get("content-type", "no media type")
            raise UnexpectedAnswer(
                f"the answer (status {self.status}, {kind}) is not JSON; is this Salience?"
            ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call(Generic[T_co]):
    method: str
    path: str  # relative to the server's address, quoted
    read: Callable[[Answer], T_co]
    params: Params = field(default_factory=dict)  # values that are None are left out
    body: Any = None  # JSON; None: no body
    stream: BulkBody[Any] | None = None  # documents, instead of `body`
    headers: Mapping[str, str] = field(default_factory=dict)
    # Whether the call can safely be repeated if it is unknown whether the first attempt was served: reads, and writes
    # that contain the complete new state. Other calls are repeated only if the server said that it did nothing.
    repeatable: bool = True
    timeout: float | None = None  # seconds; None: the client's
    after_timeout: str = ""  # message after a timeout: what may have been done, and what to do then

    @property
    def at_hand(self) -> bool:
        """Whether its content can be sent again."""
        return self.stream is None or self.stream.repeatable


def path_of(*parts: str | int) -> str:
    """The path of these parts, each quoted: an id may have any characters. Raises ValueError for an empty part."""
    return "".join(f"/{_quoted(str(part))}" for part in parts)


def given(**values: Any) -> dict[str, Any]:
    """The arguments that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def reading(kind: type[T], *within: str) -> Callable[[Answer], T]:
    """A reader of the answer's JSON, or the part of it under the names `within`, as `kind`.

    The reader raises UnexpectedAnswer.
    """

    def read(answer: Answer) -> T:
        value = answer.json()
        try:
            for name in within:
                value = value[name]
            return read_as(kind, value)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UnexpectedAnswer(f"the answer is not of the documented form: {error}") from error

    return read


def nothing(answer: Answer) -> None:
    """A reader for answers without content. Raises UnexpectedAnswer for any other, such as a proxy's login page."""
    if answer.status != 204:
        raise UnexpectedAnswer(f"the answer has status {answer.status} in place of 204; is this Salience?")


def header_value(value: str, what: str) -> str:
    """The value, if it is a valid header. Raises ValueError, whose message does not contain the value, if it is not.

    A typical mistake is a key with the line break of the file that it was read from.
    """
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError(f"{what} must be printable ASCII, without white space around it, and not empty")
    return value


def failed(answer: Answer) -> RequestFailed:
    """The error of a failed request: the server's own, or a generic one if the answer does not come from Salience."""
    code, message, param, request_id = "", "", None, answer.headers.get("x-request-id")
    try:
        detail = json.loads(answer.content)["error"]
        code, message = str(detail["code"]), str(detail["message"])
        param, request_id = detail.get("param"), detail.get("request_id", request_id)
    except (ValueError, KeyError, TypeError, RecursionError):
        code, message = "", f"the answer has status {answer.status}, and does not come from Salience"
    return failure(
        answer.status,
        code,
        message,
        param=param,
        request_id=request_id,
        retry_after=_retry_after(answer.headers.get("retry-after")),
    )


def _quoted(part: str) -> str:
    if not part:
        raise ValueError("a name or an id may not be empty")
    if part in (".", ".."):
        return part.replace(".", "%2E")  # else they would be resolved as relative path segments
    return quote(part, safe="", errors="surrogatepass")


def _retry_after(said: str | None) -> float | None:
    """The Retry-After header in seconds; it may also be a date."""
    if said is None:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
