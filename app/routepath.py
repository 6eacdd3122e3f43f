"""Where a request goes, as the routes see it."""

from __future__ import annotations

from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """The path below where the application is mounted: ASGI's `path` without its `root_path`."""
    path: str = scope["path"]
    mounted: str = scope.get("root_path", "")
    below = path.removeprefix(mounted)
    return below if not below or below.startswith("/") else path
