"""What the guide says of a proxy in front, and the configuration of nginx, hold of the server."""

from __future__ import annotations

import re
from typing import cast

from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.operation.connections import Connections
from app.operation.readiness import Readiness
from app.operation.server import KEEP_ALIVE_SECONDS, Server
from tests.deploy.composed import ROOT

NGINX = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").partition("## Behind a proxy")[2]


def test_the_proxy_is_the_one_that_closes_idle_connections() -> None:
    upstream = re.search(r"upstream salience \{.*?keepalive_timeout (\d+)s;.*?\}", NGINX, re.DOTALL)
    caddy = re.search(r"keepalive (\d+)s", GUIDE)
    assert upstream
    assert caddy
    assert int(upstream[1]) < KEEP_ALIVE_SECONDS
    assert int(caddy[1]) < KEEP_ALIVE_SECONDS


def test_forwarded_headers_are_believed_of_this_machine_alone() -> None:
    server = Server(FastAPI(), Connections(most=16, head_seconds=5.0), cast(Readiness, None), drain_seconds=0.0)
    server.config.load()
    outermost = server.config.loaded_app
    assert isinstance(outermost, ProxyHeadersMiddleware)
    assert [host in outermost.trusted_hosts for host in ("127.0.0.1", "::1", "10.0.0.1")] == [True, True, False]
    assert "`127.0.0.1` and `::1`" in GUIDE


def test_nginx_is_told_of_every_long_path() -> None:
    assert NGINX.count("{") == NGINX.count("}")
    assert "client_max_body_size 0;" in NGINX
    assert "proxy_set_header Host $http_host;" in NGINX, "signatures are made over it"
    pattern = re.search(r"location ~ (\S+) \{[^}]*proxy_request_buffering off;", NGINX)
    assert pattern
    assert re.search(pattern[1], "/v1/collections/goods/documents:bulk")
    assert not re.search(pattern[1], "/v1/collections/goods/search")
