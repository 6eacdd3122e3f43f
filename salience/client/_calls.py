"""One request as a value: what is sent, and how its answer is read. Nothing here sends anything.

Both clients send the same calls: each request of the API is described once, in the modules beside this one.
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
    """What came back."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    content: bytes

    def json(self) -> Any:
        """Raises UnexpectedAnswer."""
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
    path: str  # below the server's address, quoted
    read: Callable[[Answer], T_co]
    params: Params = field(default_factory=dict)  # those that are None are left out
    body: Any = None  # JSON; None: no body
    stream: BulkBody[Any] | None = None  # documents, in place of body
    headers: Mapping[str, str] = field(default_factory=dict)
    # Whether a second one does no harm where nobody knows if the first was served: reads, and writes that say the
    # whole new state. Others are sent again only where the server said that it did nothing.
    repeatable: bool = True
    timeout: float | None = None  # seconds; None: the client's
    after_timeout: str = ""  # what may have been done, and what to do then

    @property
    def at_hand(self) -> bool:
        """Whether what it sends can be sent once more."""
        return self.stream is None or self.stream.repeatable


def path_of(*parts: str | int) -> str:
    """The path of these parts, each quoted: an id may hold slashes, dots and anything else. Raises ValueError."""
    return "".join(f"/{_quoted(str(part))}" for part in parts)


def given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def reading(kind: type[T], *within: str) -> Callable[[Answer], T]:
    """Reads the answer's JSON, or what it has under the names of `within`, as `kind`."""

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
    """For answers without content. Raises UnexpectedAnswer for one of somebody else's, such as a page to log in."""
    if answer.status != 204:
        raise UnexpectedAnswer(f"the answer has status {answer.status} in place of 204; is this Salience?")


def header_value(value: str, what: str) -> str:
    """Raises ValueError, without the value, for what no header carries: a key's line break out of its file."""
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError(f"{what} must be printable ASCII, without white space around it, and not empty")
    return value


def failed(answer: Answer) -> RequestFailed:
    """What the server refused, in its own words; in those of whoever stands before it, if it is not its own answer."""
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
        return part.replace(".", "%2E")  # else they would be taken for steps in the path
    return quote(part, safe="", errors="surrogatepass")


def _retry_after(said: str | None) -> float | None:
    """Seconds; the header may also name a moment."""
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
