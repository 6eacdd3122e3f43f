"""The door: who is there, before the body is read; and whether they may, before the endpoint runs."""

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
    """Who makes a request, by its headers: a Caller, or why there is none.

    Those of `signed` paths are read to check their signatures, unless the headers show that none can hold. Where the
    keys cannot be read, nobody is let in, but to what is `_WATCHED` by those that were read last: that is when somebody
    has to look.
    """

    def __init__(
        self, keyring: Callable[[], KeyRing], signatures: Callable[[], SignatureAuth], signed: Sequence[str] = ()
    ) -> None:
        self._keyring = keyring
        self._signatures = signatures
        self._signed = frozenset(signed)
        self._reading: CapacityLimiter | None = None  # made where there is an event loop

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
        """None: the keys must be read first."""
        keyring = self._keyring()
        if not keyring.fresh or _is_unknown(scope, caller := _bearer(scope, keyring), keyring):
            return None
        return self._signer(scope, caller)

    async def _read(self, read: Callable[[], None]) -> None:
        self._reading = self._reading or CapacityLimiter(1)  # threads of the pool may all be busy
        await to_thread.run_sync(read, limiter=self._reading)

    def _signer(self, scope: Scope, caller: Caller | SalienceError) -> Caller | SalienceError:
        """Who is there, where a signature may say it; whether it holds is checked where the body is known."""
        if route_path(scope) not in self._signed or (isinstance(caller, Caller) and caller is not ANONYMOUS):
            return caller
        signatures = self._signatures()
        try:
            signatures.check_headers(Request(scope))
        except InvalidSignature as error:
            return error
        return SIGNED if signatures.needed else caller


class Identify:
    """Notes who makes a request as `state.caller`: a Caller, or why there is none.

    Whoever is not known is asked for no body: it is refused when it is asked for. Answers to keys with limits say what
    is left of them. What is entered into `state.until_answered` meanwhile ends when the request does.
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
    """A dependency of every route that is not public: lets a request in if its caller may do what the route does.

    Raises what `state.caller` says is wrong, Forbidden, CollectionNotFound, QuotaExceeded, TooLarge, Malformed. It
    takes no thread of the pool: who is refused is refused at once, however busy the server is. To the API's description
    it is the bearer token that the route takes.
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
        if not route.path_regex.fullmatch(route_path(request.scope)):  # `$` lets a line break stand behind the path
            raise HTTPException(404)  # which is another one to all who look at it: limits on bodies, signatures
        check_rights(caller, rule)
        if rule.scope is Reach.COLLECTION:
            caller.collection(request.path_params["collection"])
        _check_length(request, caller)
        check_parameters(request, route)
        request.state.until_answered.enter_context(self._limiter().admitted(caller, searches=rule.searches))


def check_rules(app: FastAPI, *, public: Collection[str] = ()) -> None:
    """Raises ValueError where a route has no rule, no door before it, or one that does not fit its path.

    `public`: routes that the settings open to everybody.
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
    """Raises Forbidden where the caller may not use a route of this rule, whatever it is asked for."""
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
    """Whether it may be somebody whose key has just been made elsewhere. Not who has none: probes come all the time."""
    scheme = (header(scope, b"authorization") or "").partition(" ")[0]
    return isinstance(caller, SalienceError) and scheme.lower() == "bearer" and not keyring.newest


def _check_length(request: Request, caller: Caller) -> None:
    """Of a body that is announced; BodyLimit watches the others."""
    limit = caller.rights.limits.body_bytes
    announced = request.headers.get("content-length", "")
    if limit is not None and announced.isdigit() and int(announced) > limit:
        raise TooLarge(f"the body has {announced} bytes, and this key may send {limit} at once; send less")
