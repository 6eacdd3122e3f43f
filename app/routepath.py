"""Where a request goes, as the routes see it."""

from __future__ import annotations

from starlette.routing import Route
from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """The path below where the application is mounted: ASGI's `path` without its `root_path`."""
    path: str = scope["path"]
    mounted: str = scope.get("root_path", "")
    below = path.removeprefix(mounted)
    return below if not below or below.startswith("/") else path


def route_template(scope: Scope) -> str | None:
    """The path of the application's own route that a request was for, with names for what varies; None: it has none.

    Below a mount the scope holds the mount until a route is found: without one a request is as unknown as elsewhere.
    """
    route = scope.get("route")
    return route.path if isinstance(route, Route) else None
