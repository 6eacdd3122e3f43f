"""Who finds the lane full is refused where the connection is read: without a task, and without the middlewares.

Under overload there are several refusals for each answer, and the time that they take is taken from the answers. What
the middlewares would do with such a request (app/main.py has their order) is done here, by the same functions where it
differs from request to request: the same answer, counts and line in the log. Whatever would have to wait, has a span,
or is not refused for lack of a place, is for them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog
from starlette.requests import Request
from starlette.types import Scope
from structlog.contextvars import bound_contextvars

from app.access.caller import Caller
from app.access.door import Callers
from app.access.limits import Limiter
from app.error_shapes import Shape, shape_of
from app.errors import Malformed, answered
from app.middleware import HTTP_LOG, body_limit, log_request, request_id_of
from app.operation.admission import HEALTH, lane_of, seconds_given
from app.operation.connections import Answer
from app.operation.lanes import Lane, Overloaded
from app.operation.panel import Panel
from app.parameters import comes_last
from app.routepath import RouteTemplates, route_path
from core.errors import InvalidInput

_LINES_A_SECOND = 20  # of refusals; overload has thousands, and the disk that the log fills may be that of the data
_ID = "{request_id}"  # in a prepared answer; no id may have these brackets
_level = logging.getLogger(HTTP_LOG)
_log = structlog.get_logger(HTTP_LOG)


class _Prepared(NamedTuple):
    """An answer that only lacks its request's id."""

    status: int
    fields: list[tuple[bytes, bytes]]
    around_id: list[bytes]  # the body


class Refusals:
    """Those of one application. For its event loop."""

    def __init__(
        self,
        panel: Panel,
        callers: Callers,
        limiter: Callable[[], Limiter],
        templates: RouteTemplates,
        *,
        limit: int,
        by_path: Mapping[str, int],
    ) -> None:
        """`limit`, `by_path`: bytes of a body, as BodyLimit has them."""
        self._panel = panel
        self._callers = callers
        self._limiter = limiter
        self._templates = templates
        self._limit = limit
        self._by_path = by_path
        self._lines = 0  # written in the second that began at `_since`
        self._since = 0.0
        self._left_out = 0  # refusals without a line, whose number is yet to be told
        self._prepared: dict[tuple[Shape, str, float], _Prepared] = {}  # of lanes, which advise 1 to 30 seconds

    def answer(self, scope: Scope, body_bytes: int) -> Answer | None:
        """The refusal of a request whose body of so many bytes is there; None: the application is to answer."""
        path = route_path(scope)
        if path in HEALTH or self._panel.tracing is not None:
            return None
        began = time.perf_counter()
        caller = self._callers.at_once(scope)
        if not isinstance(caller, Caller) or body_bytes > body_limit(path, caller, self._limit, self._by_path):
            return None
        try:
            seconds_given(scope)
            lane = self._panel.lanes[lane_of(scope, last=comes_last(scope))]
        except (InvalidInput, Malformed):
            return None
        if lane.expect():
            return None
        request_id = request_id_of(scope)
        answer = self._made(path, lane, request_id, self._limiter().headers(caller))
        lane.count_refusal()
        self._note(scope, answer.status, time.perf_counter() - began, request_id)
        return answer

    def _made(self, path: str, lane: Lane, request_id: str, limits: Mapping[str, str]) -> Answer:
        key = shape_of(path), lane.name, lane.retry_after
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepared[key] = _prepare(path, lane.overloaded())
        raw_id = request_id.encode()
        body = raw_id.join(prepared.around_id)
        fields = [(b"content-length", b"%d" % len(body)), *prepared.fields]
        for name, value in limits.items():
            fields.append((name.lower().encode(), value.encode()))
        fields.append((b"x-request-id", raw_id))
        return Answer(prepared.status, fields, body)

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        """As app/middleware.py RequestContext does, but for the work on a line that is not written."""
        method, route, code = scope["method"], self._templates.of(scope), Overloaded.code
        self._panel.metrics.answered(method=method, route=route, status=status, seconds=seconds, code=code)
        if _level.isEnabledFor(logging.INFO) and self._has_line():
            with bound_contextvars(request_id=request_id):
                log_request(method=method, route=route, status=status, seconds=seconds, code=code)

    def _has_line(self) -> bool:
        """Whether this refusal is logged by a line of its own; a second later the number of the others is."""
        now = time.monotonic()
        if now - self._since >= 1.0:
            self._since, self._lines = now, 0
        if self._lines < _LINES_A_SECOND:
            self._lines += 1
            return True
        if not self._left_out:
            asyncio.get_running_loop().call_later(1.0, self._tell_others)
        self._left_out += 1
        return False

    def _tell_others(self) -> None:
        _log.info("requests refused", code=Overloaded.code, more=self._left_out)
        self._left_out = 0


def _prepare(path: str, error: Overloaded) -> _Prepared:
    """Of the answer that this error gets at paths like this one. It holds no names, so it is the same for all."""
    scope = {"type": "http", "path": path, "state": {"request_id": _ID}}
    response = answered(Request(scope), error)
    fields = [(name, value) for name, value in response.raw_headers if name != b"content-length"]
    return _Prepared(response.status_code, fields, bytes(response.body).split(_ID.encode()))
