"""salience serve: the search page and the HTTP API."""

from __future__ import annotations

import errno
import socket
from typing import Annotated

import typer

from app.cli.options import DataDir, Device, Model, settings
from app.cli.terminal import note
from app.settings import SAFE_TOKEN_LENGTH
from core.errors import InvalidSettings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen at.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen at; 0: any free one.", min=0, max=65535, show_default="8080")
    ] = None,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
    worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Work on jobs, too; without it `salience worker` does.")
    ] = True,
) -> None:
    """Serve the search page at /, the HTTP API under /v1 and its documentation at /docs.

    [bold]Example[/bold]

      salience serve --port 9000
    """
    chosen = settings(data_dir, model, device)
    address, number = host or chosen.server.host, chosen.server.port if port is None else port
    listener = _listen(address, number)

    import uvicorn

    from app.logs import configure_logs
    from app.main import create_app
    from app.wiring import Wiring

    configure_logs(chosen.log)
    parts = Wiring(chosen)
    with parts.register("serve", f"http://{_shown(listener)}"):  # before the model, which takes seconds
        parts.build()  # what is wrong with the model or the data shows here, in one line
        if chosen.auth.weak:
            note(f"A token of SALIENCE_AUTH__TOKENS has fewer than {SAFE_TOKEN_LENGTH} characters: it can be guessed.")
        note(f"Salience listens at http://{_shown(listener)} (documentation: /docs); data in {chosen.data_dir}")
        config = uvicorn.Config(
            create_app(parts, worker=worker),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=30,
            lifespan="on",
        )
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything is loaded: a port in use shows at once. Raises InvalidSettings."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} is in use by another program; choose another one: salience serve --port {port + 1}"
        else:
            reason = f"cannot listen at {host} port {port}: {error.strerror or error}"
        raise InvalidSettings(reason, param="port") from None
    return listener


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
