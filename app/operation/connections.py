"""Protects the server from slow and abusive connections: limits on their number, timeouts, and request head size.

uvicorn limits only the pause between two requests. Without these limits, a client that opens a connection and sends
nothing, or half a request head, would keep it forever, and an endless head or thousands of pipelined requests would
use more and more memory.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

READ_SECONDS = 60.0  # within which a client must read some of its response
HEAD_BYTES = 64 * 2**10  # largest head of a request, including trailers after its body
PIPELINED = 16  # requests that a client may send ahead of the responses
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
)


class Answer(NamedTuple):
    """A complete response, ready to be sent."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes


AtOnce = Callable[[Scope, int], Answer | None]  # (scope, bytes of the body): an answer without the application, or None


class Connections:
    """The open connections of one process. For one event loop."""

    def __init__(self, *, most: int, head_seconds: float) -> None:
        """`most`: beyond it the longest idle connection is closed, which is the new one if no other is idle.

        `head_seconds`: within which the head of a request must arrive.
        """
        self.head_seconds = head_seconds
        self.at_once: AtOnce = lambda scope, body_bytes: None  # answers a request without the application, if it can
        self._most = most
        self._open: set[Guarded] = set()
        self._idle: dict[Guarded, None] = {}  # without a request, longest idle first

    def __len__(self) -> int:
        return len(self._open)

    def protocol(self, **given: Any) -> Guarded:
        """Create the protocol of a new connection; called by uvicorn."""
        return Guarded(connections_of_process=self, **given)

    def enter(self, one: Guarded) -> None:
        self._open.add(one)
        self._idle[one] = None
        if len(self._open) > self._most:
            oldest = next(iter(self._idle))
            self.leave(oldest)
            oldest.transport.abort()

    def busy(self, one: Guarded) -> None:
        self._idle.pop(one, None)

    def idle(self, one: Guarded) -> None:
        if one in self._open:
            self._idle[one] = None

    def leave(self, one: Guarded) -> None:
        self._open.discard(one)
        self._idle.pop(one, None)


class Guarded(HttpToolsProtocol):
    """A connection whose request heads must arrive in time, and whose responses must be read by the client."""

    def __init__(self, *, connections_of_process: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._of = connections_of_process
        self._head: TimerHandle | None = None  # until the head of the next request has arrived
        self._reading: TimerHandle | None = None  # until the client has read some of its response
        self._fields_bytes = 0  # of the head's fields and the trailers after the body
        self._unread_bytes = 0  # received since the parser last completed a head, a piece of body or a message
        self._answering = False  # whether a request, or several, are being answered
        self._excessive = False  # whether the client sent too much, which ends its connection
        self._receiving = False  # whether data_received is running
        self._begun: tuple[RequestResponseCycle, ASGIApp] | None = None  # a request in the data being received

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # asyncio's own type is wider
        super().connection_made(transport)
        self._expect_head()
        self._of.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        self._of.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unread_bytes += len(data)
        self._receiving = True
        try:
            super().data_received(data)
        finally:
            self._receiving = False
        if self._head is None and self.cycle.response_complete:  # most heads arrive whole, and need no timer
            self._expect_head()
        if self._unread_bytes > HEAD_BYTES:
            self._refuse()
        if self._begun is not None:
            (cycle, app), self._begun = self._begun, None
            if not self._answered_at_once(cycle):
                super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        self._fields_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields_bytes += len(name) + len(value)
        if self._fields_bytes > HEAD_BYTES:
            self._end("a head that is too large")
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Called when the parser stops: answer 431 if the client sent too much, else 400 for invalid HTTP."""
        if self._excessive:
            self._refuse()
        else:
            super().send_400_response(msg)

    def on_headers_complete(self) -> None:
        self._unread_bytes = 0
        if len(self.pipeline) == PIPELINED:
            self._end("too many requests ahead of their answers")
        self._answering = True
        if self._head is not None:
            self._head.cancel()
            self._head = None
        self._of.busy(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.pipeline and self.cycle.response_complete:
            self._answering = False
            self._of.idle(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        if self._receiving:  # as with a task, nothing runs before all of this data is parsed
            self._begun = cycle, app
        else:
            super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def _answered_at_once(self, cycle: RequestResponseCycle) -> bool:
        """Write the response now, without a task, if it needs no application; returns whether it was written.

        The bytes are those that `cycle.send` would write, in one piece.
        """
        whole = not cycle.more_body and not cycle.waiting_for_100_continue
        if not whole or self.transport.is_closing() or self.flow.write_paused:
            return False
        try:
            answer = self._of.at_once(cycle.scope, len(cycle.body))  # type: ignore[arg-type]
        except Exception:
            self.logger.exception("No answer could be made in the connection; the application answers")
            return False
        if answer is None:
            return False
        fields = cycle.default_headers + answer.fields
        if not cycle.keep_alive:
            fields.append((b"connection", b"close"))
        lines = b"".join([b"%s: %s\r\n" % field for field in fields])
        body = b"" if cycle.scope["method"] == "HEAD" else answer.body
        cycle.response_started = cycle.response_complete = True
        cycle.on_response = _done  # as uvicorn does, to break the reference cycle
        self.transport.write(b"%s%s\r\n%s" % (STATUS_LINE[answer.status], lines, body))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()
        return True

    def _end(self, why: str) -> NoReturn:
        """Stop the parser from within one of its callbacks; uvicorn then calls `send_400_response`."""
        self._excessive = True
        raise ValueError(why)

    def _refuse(self) -> None:
        """Answer 431, unless another response is in progress, and close the connection."""
        if self._answering:
            self.transport.abort()
        elif not self.transport.is_closing():
            said = b"the head of a request may have %d bytes" % HEAD_BYTES
            self.transport.write(_TOO_LARGE % (len(said), said))
            self.transport.close()

    def _expect_head(self) -> None:
        self._head = self.loop.call_later(self._of.head_seconds, self.transport.abort)

    def _expect_reading(self, left: int) -> None:
        self._reading = self.loop.call_later(READ_SECONDS, self._check_reading, left)

    def _check_reading(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left >= before:
            self.transport.abort()
        else:
            self._expect_reading(left)

    def _cancel(self) -> None:
        for timer in (self._head, self._reading):
            if timer is not None:
                timer.cancel()
        self._head = self._reading = None


def _done() -> None:
    """Do nothing: replaces a finished cycle's callback."""
