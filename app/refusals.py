"""Refuses requests cheaply when their lane is full: directly in the connection, without a task or the middlewares.

Under overload there are several refusals for each answer, and the time that they take is lost for answers. This module
does what the middlewares would do with such a request (app/main.py has their order): the same response, counts and log
line, made by the same functions where they depend on the request. All other requests are left to the middlewares:
those that are not refused for lack of a place, would have to wait for a read of the keys, or are traced.
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

_LINES_A_SECOND = 20  # logged refusals; overload brings thousands, and the log may share the disk with the data
_ID = "{request_id}"  # placeholder in a prepared answer; ids cannot contain braces
_level = logging.getLogger(HTTP_LOG)
_log = structlog.get_logger(HTTP_LOG)


class _Prepared(NamedTuple):
    """A response that lacks only the id of its request."""

    status: int
    fields: list[tuple[bytes, bytes]]
    around_id: list[bytes]  # the body, split at the id


class Refusals:
    """Makes the refusals of one application. For its event loop."""

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
        """`limit`, `by_path`: the largest body in bytes, as in BodyLimit."""
        self._panel = panel
        self._callers = callers
        self._limiter = limiter
        self._templates = templates
        self._limit = limit
        self._by_path = by_path
        self._lines = 0  # written in the second that began at `_since`
        self._since = 0.0
        self._left_out = 0  # refusals without a line, whose number has yet to be logged
        self._prepared: dict[tuple[Shape, str, float], _Prepared] = {}  # by shape, lane and Retry-After (1 to 30 s)

    def answer(self, scope: Scope, body_bytes: int) -> Answer | None:
        """Return the refusal of a request whose whole body has arrived; None if the application must answer."""
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
        """Count and log as RequestContext in app/middleware.py does, but do no work for a line that is not written."""
        method, route, code = scope["method"], self._templates.of(scope), Overloaded.code
        self._panel.metrics.answered(method=method, route=route, status=status, seconds=seconds, code=code)
        if _level.isEnabledFor(logging.INFO) and self._has_line():
            with bound_contextvars(request_id=request_id):
                log_request(method=method, route=route, status=status, seconds=seconds, code=code)

    def _has_line(self) -> bool:
        """Whether this refusal gets its own log line. The number of those that do not is logged within a second."""
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
    """Prepare the response to this error at paths of this shape. It contains no names, so all callers share it."""
    scope = {"type": "http", "path": path, "state": {"request_id": _ID}}
    response = answered(Request(scope), error)
    fields = [(name, value) for name, value in response.raw_headers if name != b"content-length"]
    return _Prepared(response.status_code, fields, bytes(response.body).split(_ID.encode()))
