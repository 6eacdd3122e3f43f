"""Authenticates requests before their bodies are read, and authorizes them before the endpoint runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import cast

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, HTTPException, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security.base import SecurityBase
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.caller import ANONYMOUS, SIGNED, Caller
from app.access.keyring import KeyRing
from app.access.limits import Limiter
from app.access.rules import RULES, Rule, rule_key
from app.access.rules import Scope as Reach
from app.access.signatures import SignatureAuth
from app.errors import Refused, Unauthorized
from app.headers import header
from app.parameters import check_parameters
from app.routepath import route_path
from core.errors import Forbidden, InvalidSignature, SalienceError, StorageError, TooLarge

_BEARER = "A key (`salience key create`), or one of SALIENCE_AUTH__TOKENS; not needed where there are none."
_WATCHED = ("/metrics", "/readyz")


class Callers:
    """Authenticates requests by their headers: finds the Caller, or the error that explains why there is none.

    On `signed` paths the headers of a signature are checked here, and the signature itself once the body is read.
    If the keys cannot be read from the database, requests without a signature are refused. Only the `_WATCHED` paths
    then still accept the keys that were read last, since monitoring matters most at such a time.
    """

    def __init__(
        self, keyring: Callable[[], KeyRing], signatures: Callable[[], SignatureAuth], signed: Sequence[str] = ()
    ) -> None:
        self._keyring = keyring
        self._signatures = signatures
        self._signed = frozenset(signed)
        self._reading: CapacityLimiter | None = None  # created lazily: it needs an event loop

    async def of(self, scope: Scope) -> Caller | SalienceError:
        keyring = self._keyring()
        caller = _bearer(scope, keyring) if keyring.fresh else None
        try:
            if caller is None:
                await self._read(keyring.refresh)
            elif _is_unknown(scope, caller, keyring):
                await self._read(keyring.look_again)
            else:
                return self._signer(scope, caller)
        except StorageError as error:
            if route_path(scope) not in _WATCHED or not keyring.known:
                return self._signer(scope, error)
        return self._signer(scope, _bearer(scope, keyring))

    def at_once(self, scope: Scope) -> Caller | SalienceError | None:
        """Authenticate without reading the database; None if the keys must be read first."""
        keyring = self._keyring()
        if not keyring.fresh or _is_unknown(scope, caller := _bearer(scope, keyring), keyring):
            return None
        return self._signer(scope, caller)

    async def _read(self, read: Callable[[], None]) -> None:
        self._reading = self._reading or CapacityLimiter(1)  # all threads of the default pool may be busy
        await to_thread.run_sync(read, limiter=self._reading)

    def _signer(self, scope: Scope, caller: Caller | SalienceError) -> Caller | SalienceError:
        """Return SIGNED for a request to a signed path that has no other caller, if its signature's headers are valid.

        The signature itself is verified once the body is known. Otherwise returns `caller`, or the InvalidSignature.
        """
        if route_path(scope) not in self._signed or (isinstance(caller, Caller) and caller is not ANONYMOUS):
            return caller
        signatures = self._signatures()
        try:
            signatures.check_headers(Request(scope))
        except InvalidSignature as error:
            return error
        return SIGNED if signatures.needed else caller


class Identify:
    """Middleware that sets `state.caller` of each request: a Caller, or the error that explains why there is none.

    The body of an unauthenticated request is never read: an attempt to read it raises Refused. Responses to keys with
    limits carry the rate limit headers. Context managers entered into `state.until_answered` exit with the request.
    """

    def __init__(self, app: ASGIApp, callers: Callers, limiter: Callable[[], Limiter]) -> None:
        self._app = app
        self._callers = callers
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = await self._callers.of(scope)
        scope.setdefault("state", {})["caller"] = caller
        problem = caller if isinstance(caller, SalienceError) else None

        async def refused() -> Message:
            assert problem is not None
            raise Refused(problem)

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start" and isinstance(caller, Caller):
                MutableHeaders(scope=message).update(self._limiter().headers(caller))
            await send(message)

        with ExitStack() as scope["state"]["until_answered"]:
            await self._app(scope, receive if problem is None else refused, send_with_limits)


class Door(SecurityBase):
    """Dependency of every route that is not public: authorizes the caller for the route.

    Raises the error in `state.caller` if there is one, and Forbidden, CollectionNotFound, QuotaExceeded, TooLarge,
    Malformed. It takes no thread of the pool, so refusals are immediate however busy the server is. In the OpenAPI
    description it appears as the route's bearer token.
    """

    scheme_name = "HTTPBearer"

    def __init__(self, limiter: Callable[[], Limiter]) -> None:
        self.model = HTTPBearer(description=_BEARER)
        self._limiter = limiter

    async def __call__(self, request: Request) -> None:
        route = request.scope["route"]
        key = rule_key(route.operation_id, route.endpoint)
        rule = RULES[key]
        caller = cast("Caller | SalienceError", request.state.caller)
        if isinstance(caller, SalienceError):
            raise caller
        if not route.path_regex.fullmatch(route_path(request.scope)):  # the regex's `$` also matches before a final \n
            raise HTTPException(404)  # body limits and signatures compare whole paths and would not recognize it
        check_rights(caller, rule)
        if rule.scope is Reach.COLLECTION:
            caller.collection(request.path_params["collection"])
        _check_length(request, caller)
        check_parameters(request, route)
        request.state.until_answered.enter_context(self._limiter().admitted(caller, searches=rule.searches))


def check_rules(app: FastAPI, *, public: Collection[str] = ()) -> None:
    """Raise ValueError if a route has no rule, a rule whose scope does not fit its path, or lacks its Door.

    A public route must have no Door. `public`: keys of further routes that the settings make public.
    """
    for route in iter_route_contexts(app.routes):
        if not isinstance(route.original_route, APIRoute):
            continue  # the API's description
        key = rule_key(route.operation_id, route.endpoint)
        rule = RULES.get(key)
        if rule is None:
            raise ValueError(f"{route.path} has no rule: say in app/access/rules.py RULES who may use {key!r}")
        if (rule.scope is Reach.COLLECTION) != ("{collection}" in (route.path or "")):
            raise ValueError(f"{route.path}: the scope {rule.scope} of {key!r} does not fit the path")
        guarded = any(isinstance(dependency.call, Door) for dependency in route.dependant.dependencies)
        if guarded == (rule.scope is Reach.PUBLIC or key in public):
            raise ValueError(f"{route.path}: {key!r} is {rule.scope}, and {'has a' if guarded else 'has no'} door")


def check_rights(caller: Caller, rule: Rule) -> None:
    """Raise Forbidden if the caller may not use routes with this rule at all, whatever the request."""
    rights = caller.rights
    if rule.role is not None and not rights.role.may(rule.role):
        raise Forbidden(
            f"this requires a key with the role {rule.role.value}; this key has the role {rights.role.value}"
        )
    if rule.scope is Reach.OPERATOR and not caller.sees_everything:
        raise Forbidden("this requires an operator key: one without a tenant, collection patterns or a row filter")
    if rights.rows is not None and not rule.rows:
        raise Forbidden(
            "this key sees some of the documents only, and here it could learn of others or change them; use a key "
            "without a row filter"
        )


def _bearer(scope: Scope, keyring: KeyRing) -> Caller | SalienceError:
    scheme, _, credential = (header(scope, b"authorization") or "").partition(" ")
    found = keyring.caller(credential.strip() if scheme.lower() == "bearer" else None)
    return Unauthorized() if found is None else found


def _is_unknown(scope: Scope, caller: Caller | SalienceError, keyring: KeyRing) -> bool:
    """Whether an unknown bearer token may be a key that another process has just created.

    Never for requests without a token, since health probes arrive all the time.
    """
    scheme = (header(scope, b"authorization") or "").partition(" ")[0]
    return isinstance(caller, SalienceError) and scheme.lower() == "bearer" and not keyring.newest


def _check_length(request: Request, caller: Caller) -> None:
    """Raise TooLarge if the announced Content-Length exceeds the key's limit; BodyLimit checks unannounced bodies."""
    limit = caller.rights.limits.body_bytes
    announced = request.headers.get("content-length", "")
    if limit is not None and announced.isdigit() and int(announced) > limit:
        raise TooLarge(f"the body has {announced} bytes, and this key may send {limit} at once; send less")
