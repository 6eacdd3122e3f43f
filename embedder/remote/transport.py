"""Sends HTTP requests to a remote, with quota, retries, circuit breaker and deadline."""

from __future__ import annotations

import json
import math
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import httpx

from core.context import check_awaited, current_answer, current_trace
from core.errors import InvalidSettings, RemoteMismatch, RemoteRefused, RemoteUnavailable
from embedder.remote.breaker import CircuitBreaker
from embedder.remote.config import RemoteConfig
from embedder.remote.quota import Quota
from embedder.remote.redaction import error_text
from embedder.remote.retry import RETRIED_STATUSES, UNHEALTHY_STATUSES, backoff, retry_after
from embedder.remote.wire import Wire, WireRequest

MAX_ANSWER_BYTES = 256 << 20
LOOK_SECONDS = 0.1  # while waiting, how often to check that somebody still needs the answer


def _wait(seconds: float, stop: threading.Event) -> None:
    stop.wait(seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """The clocks, sleep function and random source of a transport, which tests replace."""

    clock: Callable[[], float] = time.monotonic  # seconds
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float, threading.Event], None] = _wait  # sleeps so many seconds, or until the event is set
    random: Random = field(default_factory=Random)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """How long a caller waits."""

    ends_at: float  # on the transport's clock
    stop: threading.Event  # set once another batch of the same call has failed


class Transport:
    """One remote's connections and limits, shared by all threads."""

    def __init__(self, config: RemoteConfig, name: str, wire: Wire, environment: Environment) -> None:
        """`name`: Salience's name of the model. Opens no connection yet. Raises InvalidSettings for a bad ca_file."""
        self._config = config
        self._place = f"model {name}: {config.host}"
        self._wire = wire
        self._world = environment
        self.clock = environment.clock
        self.breaker = CircuitBreaker(self._place, clock=environment.clock)
        self.quota = Quota(
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
            clock=environment.clock,
        )
        connections = 2 * config.concurrency  # ingest uses at most half of them
        self._client = httpx.Client(
            verify=_trust(config, name),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,  # the key would be sent along
            trust_env=False,  # only the app reads the environment
            headers={"User-Agent": "salience", "Content-Type": "application/json", "Accept": "application/json"},
        )

    def deadline(self) -> float:
        """The time, on the transport's clock, by which a request that starts now must end."""
        return self._world.clock() + self._config.deadline_seconds

    def post(self, request: WireRequest, call: Call, *, tokens: int) -> object:
        """Sends a request of about `tokens` tokens and returns the JSON of the answer.

        Connection errors, timeouts, 408, 429, 5xx and answers that are not JSON are retried while there is time. Raises
        RemoteUnavailable if that does not help, RemoteRefused for any other status but 200 and for an untrusted
        certificate, RemoteMismatch for an answer above MAX_ANSWER_BYTES; Abandoned between two tries if nobody waits
        for the answer any more.
        """
        tries = 0
        while True:
            self._wait_for_quota(tokens, call)
            self.breaker.enter()
            try:
                return self._attempt(request, call)
            except RemoteUnavailable as failure:
                tries += 1
                pause = max(backoff(tries - 1, self._world.random), failure.retry_after or 0.0)
                late = self._world.clock() + pause >= call.ends_at
                if tries >= self._config.attempts or late:
                    raise self._given_up(failure, tries) from failure
                if failure.retry_after:
                    self.quota.pause(failure.retry_after)  # holds back all callers
            self._sleep(pause, call)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _wait_for_quota(self, tokens: int, call: Call) -> None:
        patience = call.ends_at - self._world.clock()
        wait = self.quota.reserve(tokens, patience=patience)
        if wait > patience:
            raise RemoteUnavailable(
                f"{self._place} has no quota left for {wait:.0f} s, longer than a request may take here "
                f"(deadline_seconds {self._config.deadline_seconds:g})",
                retry_after=wait,
            )
        self._sleep(wait, call)

    def _sleep(self, seconds: float, call: Call) -> None:
        step = math.inf if current_answer() is None else LOOK_SECONDS
        while seconds > 0 and not call.stop.is_set():
            check_awaited()
            self._world.sleep(min(seconds, step), call.stop)
            seconds -= step
        check_awaited()
        if call.stop.is_set():
            raise RemoteUnavailable(f"{self._place} is not asked any more: another part of the same request failed")

    def _attempt(self, request: WireRequest, call: Call) -> object:
        """One try, whose outcome is reported to the breaker. Raises RemoteUnavailable for temporary failures."""
        try:
            status, headers, body = self._send(request, call)
        except httpx.PoolTimeout:
            self.breaker.released()
            raise RemoteUnavailable(f"{self._place}: all connections were busy") from None
        except httpx.RequestError as error:
            if _untrusted(error):
                self.breaker.released()
                raise RemoteRefused(
                    f"{self._place} is not trusted: {error} (put the certificate of whoever signed its own into a "
                    "file, and the file's path into ca_file of the model's settings)"
                ) from error
            self.breaker.failed(_described(error))
            raise RemoteUnavailable(f"{self._place} {_described(error)}") from error
        except BaseException:
            self.breaker.released()
            raise
        if status in UNHEALTHY_STATUSES:
            self.breaker.failed(f"answered {status}")
        else:
            self.breaker.succeeded()
        return self._understood(request, status, headers, body)

    def _send(self, request: WireRequest, call: Call) -> tuple[int, httpx.Headers, bytes]:
        seconds = max(0.001, min(self._config.timeout_seconds, call.ends_at - self._world.clock()))
        headers = dict(self._wire.headers(request, self._world.now()))
        if (trace := current_trace()) is not None:
            headers["traceparent"] = trace
        parts: list[bytes] = []
        size = 0
        with self._client.stream(
            "POST", request.url, content=request.body, headers=headers, timeout=httpx.Timeout(seconds)
        ) as response:
            for part in response.iter_bytes():
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise RemoteMismatch(f"{self._place} answered with more than {MAX_ANSWER_BYTES >> 20} MiB")
                if self._world.clock() > call.ends_at:  # httpx limits only the pause between two parts
                    raise httpx.ReadTimeout("the answer came too slowly")
                parts.append(part)
            return response.status_code, response.headers, b"".join(parts)

    def _understood(self, request: WireRequest, status: int, headers: httpx.Headers, body: bytes) -> object:
        """The JSON of an answer with status 200. Raises RemoteRefused or RemoteUnavailable for anything else."""
        if status == httpx.codes.OK:
            try:
                return json.loads(body)
            except (ValueError, RecursionError):
                raise RemoteUnavailable(f"{self._place} answered with something that is not JSON") from None
        said = error_text(body, secrets=self._config.secrets, texts=request.texts)
        message = f"{self._place} answered {status}: {said}" if said else f"{self._place} answered {status}"
        if status not in RETRIED_STATUSES:
            raise RemoteRefused(f"{message}{_advice(status)}", status=status)
        raise RemoteUnavailable(message, retry_after=retry_after(headers, self._world.now()))

    def _given_up(self, failure: RemoteUnavailable, tries: int) -> RemoteUnavailable:
        return RemoteUnavailable(
            f"{failure.message} (given up after {tries} {'try' if tries == 1 else 'tries'})",
            retry_after=failure.retry_after,
        )


def _described(error: httpx.RequestError) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return f"cannot be reached: {error}"
        case httpx.TimeoutException():
            return f"did not answer in time: {type(error).__name__}"
        case _:
            return f"broke off the connection: {error}"


def _untrusted(error: BaseException) -> bool:
    """Whether the remote's certificate was refused, which is not a temporary failure."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _advice(status: int) -> str:
    if status in (401, 403):
        return " (check token, or access_key and secret_key, in the model's settings)"
    if 300 <= status < 400:
        return " (it redirects, which is not followed: put the final address into the model's url)"
    if status == 404:
        return " (check url and remote_model in the model's settings)"
    return ""


def _trust(config: RemoteConfig, name: str) -> ssl.SSLContext | bool:
    if config.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(f"remote model {name!r}, ca_file: {config.ca_file}: {error}", param="ca_file") from error
