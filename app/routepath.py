"""The path of a request as routes see it, and the template of the route that it matches."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Route, compile_path
from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """Return the path below the application's mount point: ASGI's `path` without its `root_path`."""
    path: str = scope["path"]
    mounted: str = scope.get("root_path", "")
    below = path.removeprefix(mounted)
    return below if not below or below.startswith("/") else path


class RouteTemplates:
    """Finds the path templates of an application's own routes, such as `/v1/collections/{collection}/search`."""

    def __init__(self, routes: Callable[[], Sequence[BaseRoute]]) -> None:
        """`routes`: called once, when the first request needs them."""
        self._routes = routes

    def of(self, scope: Scope) -> str | None:
        """Return the template of the route that a request is for; None if there is no such route.

        It is found by path and method for a request that was refused before routing. Below a mount, the scope has the
        mount as its route until one of its own routes is found: without one, the request has no template either.
        """
        route = scope.get("route")
        if isinstance(route, Route):
            return route.path
        return None if route is not None else self._sought(scope["method"], route_path(scope))

    def _sought(self, method: str, path: str) -> str | None:
        found = None
        for pattern, methods, template in self._patterns:
            if pattern.match(path):
                if method in methods:
                    return template
                found = found or template
        return found

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], set[str], str]]:
        return [
            (compile_path(route.path)[0], set(route.methods or ()), route.path)
            for route in iter_route_contexts(self._routes())
            if route.path is not None
        ]
