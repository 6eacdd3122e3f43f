"""salience serve: serves the search page and the HTTP API."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import DataDir, Device, Model, settings
from app.cli.terminal import announce
from app.operation.process import is_local
from app.settings import SAFE_TOKEN_LENGTH, Settings
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
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that serve, each with its own model in memory.", min=1, max=128, show_default="1"),
    ] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Listen beyond this machine, though nobody is asked who they are.")
    ] = False,
) -> None:
    """Serve the search page at /, the HTTP API under /v1 and its documentation at /docs.

    [bold]Example[/bold]

      salience serve --port 9000
    """
    from app.logs import configure_logs

    chosen = settings(data_dir, model, device)
    address, number = host or chosen.server.host, chosen.server.port if port is None else port
    listener = _listen(address, number)
    if not (allow_anonymous or chosen.server.allow_anonymous or is_local(listener)):
        _check_guarded(chosen)
    configure_logs(chosen.log)
    if chosen.auth.weak:
        weak = f"A token of SALIENCE_AUTH__TOKENS has fewer than {SAFE_TOKEN_LENGTH} characters: it can be guessed."
        announce(weak, chosen.log, level=logging.WARNING)
    processes = workers or chosen.server.workers
    if processes == 1:
        started = _serve(chosen, listener, worker=worker, ready=lambda: _say_where(listener, chosen))
    else:
        started = _supervise(chosen, listener, processes, worker=worker, options=(data_dir, model, device))
    if not started:
        raise typer.Exit(1)


def serve_beside_others(
    number: int,
    listener: socket.socket,
    ready: Callable[[], None],
    *,
    options: tuple[Path | None, str | None, str | None],
    worker: bool,
) -> None:
    """The main function of one of several server processes. Only the first one also works on jobs."""
    if not _serve(settings(*options), listener, worker=worker and number == 0, ready=ready):
        raise SystemExit(1)


def _serve(chosen: Settings, listener: socket.socket, *, worker: bool, ready: Callable[[], None]) -> bool:
    """Serve in this process until a signal stops it. Returns whether it ever served.

    `ready` is called before the first answer.
    """
    from app.logs import configure_logs
    from app.main import create_app
    from app.operation.allocator import share_arenas
    from app.operation.connections import Connections
    from app.operation.process import raise_open_files
    from app.operation.server import Server
    from app.wiring import Wiring

    configure_logs(chosen.log)
    share_arenas()
    server_settings = chosen.server
    most = max(16, min(server_settings.connections, raise_open_files() // 2))  # the other half is for the data files
    connections = Connections(most=most, head_seconds=server_settings.head_seconds)
    parts = Wiring(chosen)
    with parts.register("serve", f"http://{_shown(listener)}"):  # before the model is loaded, which takes seconds
        parts.build()  # problems of the model or the data fail here, with a one-line message
        app = create_app(parts, worker=worker, connections=lambda: len(connections))
        connections.at_once = app.state.refusals.answer
        server = Server(app, connections, app.state.panel.readiness, drain_seconds=server_settings.drain_seconds)
        ready()
        server.run(sockets=[listener])
    return server.started


def _supervise(
    chosen: Settings,
    listener: socket.socket,
    processes: int,
    *,
    worker: bool,
    options: tuple[Path | None, str | None, str | None],
) -> bool:
    """Serve in several child processes until a signal stops them. Returns whether they ever served."""
    from app.operation.process import cores
    from app.operation.supervisor import Supervisor

    supervisor = Supervisor(
        serve_beside_others,
        listener,
        processes,
        threads=max(1, cores() // processes),
        drain_seconds=chosen.server.drain_seconds,
        options=options,
        worker=worker,
    )
    return supervisor.run(lambda: _say_where(listener, chosen))


def _say_where(listener: socket.socket, chosen: Settings) -> None:
    address, directory = f"http://{_shown(listener)}", str(chosen.data_dir)
    message = f"Salience listens at {address} (documentation: /docs); data in {directory}"
    announce(message, chosen.log, address=address, data_dir=directory)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything is loaded to fail early. Raises InvalidSettings if that fails."""
    from app.operation.process import bound

    try:
        listener = bound(host, port)
        listener.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} is in use by another program; choose another one: salience serve --port {port + 1}"
        else:
            reason = f"cannot listen at {host} port {port}: {error.strerror or error}"
        raise InvalidSettings(reason, param="port") from None
    return listener


def _check_guarded(chosen: Settings) -> None:
    """Raises InvalidSettings if anybody could do anything: there are no tokens, and no key was ever made."""
    from app.wiring import Wiring

    with Wiring(chosen) as parts:
        parts.keyring.refresh()
        if not parts.keyring.guarded:
            raise InvalidSettings(
                "this address can be reached from other machines, and nobody is asked who they are. Make a key first: "
                "salience key create operator --role admin; or set SALIENCE_AUTH__TOKENS. Where everybody who reaches "
                "it may do everything, say so: --allow-anonymous or SALIENCE_SERVER__ALLOW_ANONYMOUS=true",
                param="host",
            )


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
